"""The link: reconnects, logs each change once, and ends as soon as it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fastws.brokers.redis.wire.link import MAX_DELAY_SECONDS, MAX_FAILURES_WHEN_ALIVE, MAX_REASONS, RedisLink
from fastws.redis_address import RedisAddress
from tests.redis_server import RedisServer


class Protocol(asyncio.Protocol):
    """The protocol of a link, which counts its connections."""

    on_ready: Callable[[], None]
    on_lost: Callable[[str], None]

    def __init__(self, *, is_usable: bool = True) -> None:
        self.is_usable = is_usable
        self.transport: asyncio.Transport | None = None
        self.connections = 0
        self.is_connected = asyncio.Event()

    def connected(self, transport: asyncio.Transport, client_id: int | None) -> None:
        self.transport = transport
        self.connections += 1
        if self.is_usable:
            self.on_ready()
        self.is_connected.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_connected.clear()
        self.on_lost("the test")


def nowhere(tmp_path: Path) -> RedisLink:
    """A link to a Unix socket that does not exist: each attempt fails at once."""
    return RedisLink(RedisAddress(path=str(tmp_path / "none.sock")), Protocol(), "commands", name="test")


async def attempts(link: RedisLink, count: int) -> None:
    """Let the link fail until it has made `count` attempts."""
    while link.attempts < count:
        link.reconnect_now()
        await asyncio.sleep(0)


async def ended(task: asyncio.Task[None]) -> None:
    done, _ = await asyncio.wait({task}, timeout=10.0)
    task.cancel()  # so that a failure does not leave it behind
    assert done
    assert task.cancelled()


@pytest.mark.parametrize("iterations", range(8))
async def test_a_cancellation_right_after_reconnect_now_is_not_lost(tmp_path: Path, iterations: int) -> None:
    link = nowhere(tmp_path)
    task = asyncio.create_task(link.run())
    # Enough failures for a bound of 4 s: the link is then waiting for its backoff, not connecting.
    await attempts(link, 12)
    while not link._reconnect_now._waiters:
        await asyncio.sleep(0)
    link.reconnect_now()
    for _ in range(iterations):
        await asyncio.sleep(0)
    task.cancel()
    await ended(task)


async def test_failures_raise_the_bound_and_are_logged_once(tmp_path: Path) -> None:
    link = nowhere(tmp_path)
    with capture_logs() as logs:
        task = asyncio.create_task(link.run())
        await attempts(link, 9)
        task.cancel()
        await ended(task)
    assert link._backoff.bound_seconds == MAX_DELAY_SECONDS
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("redis unavailable", "[Errno 2] No such file or directory")
    ]


async def test_failures_for_different_reasons_are_logged_once_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that closes a new connection is seen as one that closes or resets it, as chance has it."""
    reasons = [f"reason {number % 2}" for number in range(8)] + [f"reason {number}" for number in range(2, 40)]

    async def dial(address: RedisAddress, name: str) -> None:
        raise OSError(reasons.pop(0) if reasons else "reason 0")

    monkeypatch.setattr("fastws.brokers.redis.wire.link.dial", dial)
    link = nowhere(tmp_path)
    with capture_logs() as logs:
        task = asyncio.create_task(link.run())
        await attempts(link, 50)
        task.cancel()
        await ended(task)
    assert [entry["reason"] for entry in logs] == [f"reason {number}" for number in range(MAX_REASONS)]


@pytest.mark.parametrize(("steady_seconds", "failures"), [(0.0, 1), (1e9, MAX_FAILURES_WHEN_ALIVE + 1)])
async def test_after_a_steady_connection_the_delays_start_small_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, steady_seconds: float, failures: int
) -> None:
    monkeypatch.setattr("fastws.brokers.redis.wire.link.STEADY_SECONDS", steady_seconds)
    protocol = Protocol()
    link = RedisLink(RedisAddress(path=str(redis_server.socket_path)), protocol, "commands", name="test")
    link._backoff.failures = 9
    task = asyncio.create_task(link.run())
    await asyncio.wait_for(protocol.is_connected.wait(), 10.0)
    assert protocol.transport is not None
    protocol.transport.abort()
    async with asyncio.timeout(10.0):
        while link.is_connected:
            await asyncio.sleep(0)
    assert link._backoff.failures == failures
    link.reconnect_now()
    await asyncio.wait_for(protocol.is_connected.wait(), 10.0)
    assert protocol.connections == 2
    task.cancel()
    await ended(task)


async def lose(link: RedisLink, protocol: Protocol, times: int) -> None:
    """Let the connection end `times` times, each time for the same reason."""
    async with asyncio.timeout(10.0):
        for _ in range(times):
            link.reconnect_now()
            await protocol.is_connected.wait()
            assert protocol.transport is not None
            protocol.transport.abort()
            while protocol.is_connected.is_set() or link.is_connected:
                await asyncio.sleep(0)


@pytest.mark.parametrize(("is_usable", "lines"), [(True, ["connected", "unavailable"] * 3), (False, ["unavailable"])])
async def test_connections_that_prove_of_no_use_are_logged_once(
    redis_server: RedisServer, is_usable: bool, lines: list[str]
) -> None:
    protocol = Protocol(is_usable=is_usable)
    link = RedisLink(RedisAddress(path=str(redis_server.socket_path)), protocol, "commands", name="test")
    with capture_logs() as logs:
        task = asyncio.create_task(link.run())
        await lose(link, protocol, 3)
        task.cancel()
        await ended(task)
    assert [entry["event"] for entry in logs] == [f"redis {line}" for line in lines]
