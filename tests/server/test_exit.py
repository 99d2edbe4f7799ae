"""The end of processes of which something hangs: log, stdout, threads, hooks, atexit functions."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from tests.hostile.raw_client import RawClient
from tests.hostile.server_process import ServerProcess
from tests.redis_server import RedisServer
from tests.workers.supervised import command_of

# A process that hangs would never end; one that does not takes 4 s at most, on an idle machine.
PATIENCE_SECONDS = 60.0


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A full pipe without a reader."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"\n" * 4096)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def processes(server: ServerProcess) -> list[int]:
    workers = [child.pid for child in server.watched.children() if "fastws.workers.worker" in command_of(child)]
    return [server.pid, *workers]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("signals", [1, 2])
def test_an_unread_log_does_not_delay_the_exit(workers: int, signals: int, redis_server: RedisServer) -> None:
    flags = ("--log-level", "debug", "--workers", str(workers), "--redis-url", redis_server.url, "--drain-timeout", "1")
    with full_pipe() as (_, writer), ServerProcess(*flags, stderr=writer) as server:
        with RawClient(server.port) as client:
            client.upgrade()
            assert server.get("/health")[0] == 200
        assert len(processes(server)) == (1 if workers == 1 else 3)
        for _ in range(signals):
            with suppress(ProcessLookupError):
                server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0


@contextmanager
def full_terminal() -> Iterator[tuple[int, int]]:
    """A full terminal without a reader, as after Ctrl-S."""
    reader, writer = os.openpty()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"-" * 4096)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"-")
    os.set_blocking(writer, True)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("full", [full_pipe, full_terminal])
def test_an_unread_stdout_stops_neither_the_start_nor_the_exit(
    workers: int, full: Callable[[], AbstractContextManager[tuple[int, int]]], redis_server: RedisServer
) -> None:
    flags = ("--workers", str(workers), "--redis-url", redis_server.url)
    with full() as (_, writer), ServerProcess(*flags, has_keys=False, stdout=writer) as server:
        # The start is complete: the start-up text, if any, is being printed.
        assert server.get("/health")[0] == 200
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0


APPLICATION = """
import atexit, threading, time

never = threading.Event()

def authorize(user, action, channel, claims):
    print("it hangs", flush=True)
    never.wait()

def at_exit():
    print("the application's atexit function", flush=True)

def at_exit_hangs():
    never.wait()

atexit.register(at_exit)
"""


def in_application(tmp_path: Path, more: str = "") -> dict[str, str]:
    """The environment in which `an_application` can be imported."""
    (tmp_path / "an_application.py").write_text(APPLICATION + more)
    return {"PYTHONPATH": str(tmp_path)}


def read_until_said(server: ServerProcess, words: str) -> None:
    assert server.process.stdout is not None
    while words not in (line := server.process.stdout.readline().decode()):
        assert line, server.log()


def subscribed(server: ServerProcess) -> RawClient:
    """A client whose subscription has the authorizer asked."""
    client = RawClient(server.port)
    client.upgrade()
    client.say({"action": "subscribe", "channel": "news"})
    return client


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hook_that_never_returns_does_not_delay_the_exit(
    tmp_path: Path, workers: int, redis_server: RedisServer
) -> None:
    flags = ("--authorizer", "an_application:authorize", "--workers", str(workers), "--redis-url", redis_server.url)
    flags = (*flags, "--log-format", "json", "--drain-timeout", "1", "--authorizer-timeout", "60")
    with ServerProcess(*flags, environment=in_application(tmp_path)) as server, subscribed(server):
        read_until_said(server, "it hangs")
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0
        [line] = server.log_lines("forced exit: threads are still running")
        assert "fastws-authorizer" in str(line["threads"])
        assert "worker timed out" not in server.log()


def test_a_second_signal_while_it_hangs_ends_it(tmp_path: Path) -> None:
    flags = ("--authorizer", "an_application:authorize", "--drain-timeout", "600", "--authorizer-timeout", "60")
    with ServerProcess(*flags, environment=in_application(tmp_path)) as server, subscribed(server), subscribed(server):
        read_until_said(server, "it hangs")
        server.signal(signal.SIGTERM)
        server.wait_until(lambda: server.get("/ready")[0] == 503)
        server.signal(signal.SIGINT)
        assert server.wait(PATIENCE_SECONDS) == 0


def test_atexit_functions_of_the_application_are_called(tmp_path: Path) -> None:
    flags = ("--authorizer", "an_application:authorize")
    with ServerProcess(*flags, environment=in_application(tmp_path)) as server:
        server.signal(signal.SIGTERM)
        read_until_said(server, "the application's atexit function")
        assert server.wait(PATIENCE_SECONDS) == 0


def test_an_atexit_function_that_hangs_does_not_delay_the_exit(tmp_path: Path) -> None:
    environment = in_application(tmp_path, "atexit.register(at_exit_hangs)\n")
    with ServerProcess("--authorizer", "an_application:authorize", environment=environment) as server:
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0


PROGRAM = """
import atexit, sys, threading
from fastws.server.exit import run_own_process

def run():
    {body}

sys.exit(run_own_process(run))
"""


@pytest.mark.parametrize(
    ("body", "code", "out"),
    [
        ("print('said', end=''); return 3", 3, b"said"),
        ("sys.exit(4)", 4, b""),
        ("sys.exit('words')", 1, b""),
        ("sys.exit()", 0, b""),
        ("1 / 0", 1, b""),
        ("atexit.register(print, 'last'); return 0", 0, b"last\n"),
        ("sys.stdout.close(); return 0", 120, b""),
        ("threading.Thread(target=threading.Event().wait).start(); return 5", 5, b""),
        ("threading.Thread(target=threading.Event().wait).start(); 1 / 0", 1, b""),
    ],
)
def test_a_process_of_our_own_ends_with_its_code(body: str, code: int, out: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)], capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (code, out), done.stderr
