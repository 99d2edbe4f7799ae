"""Fixtures for tests of workers: supervisors that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.redis_server import RedisServer
from tests.workers.supervised import Supervised

Supervise = Callable[..., Supervised]


@pytest.fixture
def supervise(redis_server: RedisServer) -> Iterator[Supervise]:
    """Starts supervisors: `supervise("--flag", workers=3)`, on the Redis of the test run by default."""
    with ExitStack() as stack:

        def start(*flags: str, redis_url: str | None = None, **more: object) -> Supervised:
            return stack.enter_context(Supervised(redis_url or redis_server.url, *flags, **more))  # type: ignore[arg-type]

        yield start
