"""A project as the documentation shows it: its files, commands and program, run unchanged in a folder of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.ports import free_port

BLOCK: Final = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
FILE: Final = re.compile(r"# (at the end of )?([\w/]+\.py)\n")
# Commands that run until they are stopped, and what they print when they are ready.
SERVERS: Final = {
    "uvicorn": "Uvicorn running on",
    "gunicorn": "Listening at",
    "celery": " ready.",
    "fastws": '"event": "listening"',
}
START_SECONDS: Final = 60.0


@dataclass
class Example:
    """`steps` are (language, text) in order. The last one is the program that prints `output`."""

    title: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    output: str = ""


def examples(section: str) -> Iterator[Example]:
    """The examples of a text with headings of rank 2 and 3. Each ends with a program and its output."""
    title = ""
    for part in re.split(r"(?m)^(?=#{2,3} )", section):
        title = part.partition("\n")[0].strip("# ") or title
        example = Example(title)
        for language, text in BLOCK.findall(part):
            if language == "text":
                example.output = text
                yield example
                example = Example(title)
            else:
                example.steps.append((language, text))


class Running:
    """A server of the project, with its output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._spoke = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    async def has_said(self, words: str) -> None:
        async with asyncio.timeout(START_SECONDS), self._spoke:
            await self._spoke.wait_for(lambda: words in self.said or self._listening.done())
        assert words in self.said, self.said

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self._spoke:
                self.said += line.decode()
                self._spoke.notify_all()

    async def stop(self) -> None:
        """Send SIGTERM to the process that was started, and check that it ends normally."""
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), START_SECONDS)
        assert code in (0, -signal.SIGTERM), self.said  # uvicorn ends by the signal that it was sent
        await self._listening

    async def kill(self) -> None:
        """Kill what is left of it and of its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._listening


async def accepts(port: int) -> None:
    """Wait until `port` is listened on: uvicorn reports its start before its workers listen."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return await writer.wait_closed()


class Project:
    """`folder` is where it lives. Its ports are replaced by free ones, its Redis by `redis_url`."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.live_port, self.web_port = free_port(), free_port()
        self.running: list[Running] = []
        self._replaced = {
            "8000": str(self.live_port),
            "8001": str(self.live_port),
            "8080": str(self.web_port),
            "redis://127.0.0.1:6379/1": redis_url,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FASTWS_")}
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NO_PROXY": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
            "FASTWS_PORT": str(self.live_port),
        }

    async def __aenter__(self) -> Project:
        return self

    async def __aexit__(self, *_: object) -> None:
        for running in self.running:
            await running.kill()

    def here(self, text: str) -> str:
        """`text` with the addresses of this run."""
        for shown, meant in self._replaced.items():
            text = text.replace(shown, meant)
        return text

    async def set_up(self, steps: list[tuple[str, str]]) -> None:
        """Write the files and run the commands. Servers keep running."""
        for language, text in steps:
            if language == "bash":
                for line in self.here(text).splitlines():
                    await self.command(line)
            else:
                self.write(self.here(text))

    def write(self, text: str) -> None:
        named = FILE.match(text)
        assert named is not None, f"which file is this?\n{text}"
        path = self.folder / named[2]
        path.parent.mkdir(exist_ok=True)
        with path.open("a" if named[1] else "w") as file:
            file.write(text)

    async def command(self, line: str) -> None:
        words = shlex.split(line)
        if words[0] == "export":
            self.environment.update(word.split("=", 1) for word in words[1:])
        elif words[0] in SERVERS:
            await (await self.start(line)).has_said(SERVERS[words[0]])
            if words[0] == "uvicorn":
                await accepts(self.web_port)
        else:
            await self.say(*words)

    async def start(self, line: str) -> Running:
        """Start a server without waiting for it."""
        running = Running(await self._process(shlex.split(line)))
        self.running.append(running)
        return running

    async def say(self, *words: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        process = await self._process(list(words))
        said, _ = await asyncio.wait_for(process.communicate(), START_SECONDS)
        assert process.returncode == 0, said.decode() + "\n".join(running.said for running in self.running)
        return said.decode()

    async def stop(self) -> None:
        """All servers, the last one first."""
        for running in reversed(self.running):
            await running.stop()

    async def _process(self, words: list[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *words,
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
