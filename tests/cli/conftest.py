"""The command line, in this process and as a real one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from fastws.cli import main
from tests.serving import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]

PATIENCE_SECONDS = 20.0


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _no_settings_of_ours_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # no servers of other tests either
    for name in list(os.environ):
        if name.startswith("FASTWS_") or name in ("REDIS_URL", "ENABLE_REALTIME"):
            monkeypatch.delenv(name)


@pytest.fixture
def _kept_logging() -> Iterator[None]:
    """Give the tests after this one the logging they had: `serve` sends every record to the process's stderr."""
    root, loggers = logging.getLogger(), ("", "fastws", "httpx")
    handlers, levels = list(root.handlers), [logging.getLogger(name).level for name in loggers]
    configured, hooks = structlog.get_config(), (sys.excepthook, threading.excepthook, sys.unraisablehook)
    yield
    root.handlers[:] = handlers
    for name, level in zip(loggers, levels, strict=True):
        logging.getLogger(name).setLevel(level)
    structlog.configure(**configured)
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


@pytest.fixture
def run(_kept_logging: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `fastws WORDS…` in this process; what goes on for ever is interrupted."""

    def ran(*words: str) -> Outcome:
        watchdog = threading.Timer(PATIENCE_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        watchdog.start()
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            watchdog.cancel()
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return ran


@dataclass
class ServerProcess:
    """A running `fastws serve`. Its output goes on being read."""

    process: asyncio.subprocess.Process
    port: int = 0
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _spoke: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)

    async def keep(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        # A terminal whose other end is closed fails with EIO.
        with contextlib.suppress(OSError):
            while line := await stream.readline():
                lines.append(line.decode().rstrip("\r\n"))
                async with self._spoke:
                    self._spoke.notify_all()
        async with self._spoke:
            self._spoke.notify_all()

    async def has_said(self, words: str) -> None:
        """Wait until a line of its output has `words`, or it has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._spoke:
            await self._spoke.wait_for(
                lambda: any(words in line for line in self.lines) or self.process.returncode is not None
            )


ServeProcess = Callable[..., Awaitable[ServerProcess]]


@pytest_asyncio.fixture
async def serve_process() -> AsyncIterator[ServeProcess]:
    """Starts `python -m fastws serve --port 0 WORDS…` on a terminal; returns once it says where it listens."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*words: str, **environment: str) -> ServerProcess:
            terminal, its_end = os.openpty()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fastws", "serve", "--port", "0", *words),
                env={**os.environ, **environment},
                stdout=its_end,
                stderr=asyncio.subprocess.PIPE,
                cwd=Path(__file__).parents[2],
            )
            os.close(its_end)
            output = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(output), os.fdopen(terminal, "rb", buffering=0)
            )
            running = ServerProcess(process)
            assert process.stderr is not None
            tasks = [
                asyncio.create_task(running.keep(output, running.lines)),
                asyncio.create_task(running.keep(process.stderr, running.errors)),
            ]
            stack.push_async_callback(_end, running, tasks)
            await running.has_said("fastws listens on ")
            assert running.lines, running.errors
            first = running.lines[0]
            assert first.startswith("fastws listens on "), first
            if "ws://" in first:
                running.port = int(first.split("/")[2].rpartition(":")[2])
            return running

        yield start


async def _end(running: ServerProcess, tasks: list[asyncio.Task[None]]) -> None:
    if running.process.returncode is None:
        running.process.kill()
    await running.process.wait()
    await asyncio.gather(*tasks)
