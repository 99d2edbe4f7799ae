"""Fixtures for hostile tests: server processes, clients that send raw bytes, a good client during the attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.hostile.canary import Canary
from tests.hostile.raw_client import RawClient, connected
from tests.hostile.server_process import ServerProcess

Run = Callable[..., ServerProcess]
Connect = Callable[..., RawClient]
Watch = Callable[..., Canary]


@pytest.fixture
def run() -> Iterator[Run]:
    """`run(*flags)` starts a server process; it is killed after the test."""
    with ExitStack() as stack:
        yield lambda *flags, **options: stack.enter_context(ServerProcess(*flags, **options))


@pytest.fixture(scope="module")
def plain_server() -> Iterator[ServerProcess]:
    """A server with defaults, for all tests of a file that only read what it answers."""
    with ServerProcess("--handshake-timeout", "3") as server:
        yield server
        assert server.is_alive
        server.assert_clean_log()


@pytest.fixture(scope="module")
def shared() -> Iterator[Run]:
    """`shared(*flags)`: a server with these flags for all tests of a file that only read what it answers."""
    with ExitStack() as stack:
        servers: dict[tuple[str, ...], ServerProcess] = {}

        def find(*flags: str) -> ServerProcess:
            if flags not in servers:
                servers[flags] = stack.enter_context(ServerProcess(*flags))
            return servers[flags]

        yield find


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects and upgrades; closed after the test."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(connected(*args, **options))


@pytest.fixture
def raw() -> Iterator[Connect]:
    """Connects without sending anything; closed after the test."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(RawClient(*args, **options))


@pytest.fixture
def watch() -> Iterator[Watch]:
    """`watch(server)` starts a good client; `.check()` checks that it was served."""
    with ExitStack() as stack:
        yield lambda server, **options: stack.enter_context(Canary(server, **options))
