"""The documentation's examples of API Gateway's API, its handlers and msgpack, run unchanged."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastws.config import Config
from fastws.server.server import Server
from tests.readme.reading import page
from tests.serving import PATIENCE_SECONDS

EXAMPLE = re.compile(r"```python\n(.*?)```\n```text\n(.*?)```", re.DOTALL)
HANDLER = re.compile(r"```python\n(# handler\.py.*?)```", re.DOTALL)


def examples() -> Iterator[tuple[str | None, str, str]]:
    """The handler that a page shows, each program, and what it prints."""
    for section in (page("aws"), page("msgpack")):
        handler = HANDLER.search(section)
        rest = HANDLER.sub("", section)
        for program, output in EXAMPLE.findall(rest):
            yield None if handler is None else handler[1], program, output


@pytest.mark.parametrize(("handler", "program", "output"), list(examples()))
async def test_an_example_prints_what_the_readme_says(
    handler: str | None, program: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = None
    if handler is not None:
        (tmp_path / "handler.py").write_text(handler)
        monkeypatch.syspath_prepend(tmp_path)
        hook = "handler:handler"
    config = Config(
        port=0, broadcast_key=("my-broadcast-key",), aws_credentials=("AKIDEXAMPLE:my-secret",), event_hook=hook
    )
    async with Server(config) as server:
        program = program.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", program),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )
        printed, complaints = await asyncio.wait_for(process.communicate(), 6 * PATIENCE_SECONDS)
    assert complaints.decode() == ""
    assert printed.decode() == output
