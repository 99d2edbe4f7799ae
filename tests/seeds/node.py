"""A program under node, talked to by lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 15.0


class Program:
    """A running program. `hear()` is its next line, as JSON; `say(line)` goes to its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def hear(self) -> Any:
        line = await self.hear_line()
        return json.loads(line)

    async def hear_line(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_SECONDS)
        if not line:
            assert self._process.stderr is not None
            raise AssertionError((await self._process.stderr.read()).decode())
        return line.decode().rstrip("\n").removeprefix("> ")  # wscat's prompt

    async def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()


@contextlib.asynccontextmanager
async def run_node(folder: Path, source: str, *, environment: Mapping[str, str]) -> AsyncIterator[Program]:
    """Run `source` with the packages of `folder`; it is killed at the end."""
    async with running("node", "-e", source, folder=folder, environment=environment) as program:
        yield program


@contextlib.asynccontextmanager
async def running(*command: str, folder: Path, environment: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), **(environment or {})},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
