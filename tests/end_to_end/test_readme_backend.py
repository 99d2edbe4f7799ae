"""The README's examples of backends and of the Python client, run unchanged."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from fastws.config import Config
from fastws.server.server import Server

README = Path(os.environ.get("FASTWS_README", Path(__file__).parents[2] / "README.md"))
SECTIONS = ("## Publishing from Python backends", "## The Python client")
EXAMPLE = re.compile(r"```python\n(.*?)```(?:\n```text\n(.*?)```)?", re.DOTALL)


def examples():
    for section in re.split(r"(?m)^(?=## )", README.read_text()):
        if section.startswith(SECTIONS):
            yield from EXAMPLE.findall(section)


@pytest.mark.parametrize(("program", "output"), list(examples()))
async def test_an_example_prints_what_the_readme_says(program, output, redis_server):
    secret = "a secret of at least thirty-two bytes"
    config = Config(port=0, jwt_secret=secret, broadcast_key=("my-broadcast-key",), allow_anonymous=True)
    async with Server(config) as server:
        program = program.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        program = program.replace("redis://127.0.0.1:6379/0", redis_server.tcp_url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", program),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )
        printed, complaints = await asyncio.wait_for(process.communicate(), 30)
    assert complaints.decode() == ""
    assert printed.decode() == output
