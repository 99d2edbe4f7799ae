"""The documentation's examples of backends and of the Python client, run unchanged."""

import asyncio
import os
import re
import sys

import pytest

from fastws.config import Config
from fastws.server.server import Server
from tests.readme.reading import page

EXAMPLE = re.compile(r"```python\n(.*?)```(?:\n```text\n(.*?)```)?", re.DOTALL)


def examples():
    for name in ("publish", "python-client"):
        yield from EXAMPLE.findall(page(name))


@pytest.mark.parametrize(("program", "output"), list(examples()))
async def test_an_example_prints_what_its_page_says(program, output, redis_server, tmp_path):
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
            cwd=tmp_path,
        )
        printed, complaints = await asyncio.wait_for(process.communicate(), 30)
    assert complaints.decode() == ""
    assert printed.decode() == output
