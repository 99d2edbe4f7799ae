"""The examples of the page "Never miss a message", run unchanged with the settings on that page."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from importlib.resources import files
from typing import Any

import pytest

from fastws.config import Config
from fastws.server.server import Server
from tests.readme.reading import README
from tests.serving import PATIENCE_SECONDS
from tests.test_plain_english import Text, faults

PAGE = (files("fastws") / "docs" / "never-miss-a-message.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", PAGE, re.DOTALL)
MOST_LINES = 300


def settings() -> dict[str, Any]:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in tomllib.loads(block).items()}


@pytest.mark.parametrize(("program", "output"), EXAMPLES)
async def test_an_example_prints_what_the_page_says(program: str, output: str) -> None:
    async with Server(Config(port=0, **settings())) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", program.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )
        printed, complaints = await asyncio.wait_for(process.communicate(), 3 * PATIENCE_SECONDS)
    assert complaints.decode() == ""
    assert printed.decode() == output


def test_every_python_example_has_its_output() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") > 0


def test_the_page_is_short_plain_english_and_linked_from_the_readme() -> None:
    assert len(PAGE.splitlines()) <= MOST_LINES
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    assert faults(Text(line[:40], line) for line in prose.splitlines() if line) == []
    assert "(fastws/docs/never-miss-a-message.md)" in README
