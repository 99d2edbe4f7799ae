"""A server for the load client: ours, in the test's own loop, while the client runs in processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from fastws.config import Config
from fastws.server.server import Server

KEY = "a-broadcast-key-of-the-tests"
SECRET = "a-secret-of-the-tests-that-is-long-enough"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    config = Config(port=0, mounts=("/echo=echo",), broadcast_key=(KEY,), jwt_secret=SECRET)
    async with Server(config) as running:
        yield running
