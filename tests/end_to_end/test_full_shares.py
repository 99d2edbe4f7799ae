"""A user at its limit of connections: dead connections give way, live ones stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from fastws.admission import shares
from fastws.server.server import Server
from tests.serving import PATIENCE_SECONDS, Join, OpenRaw, Serve

SHARES = [{"max_connections_per_user": 2}, {"max_connections_per_ip": 2}]


@pytest.fixture(autouse=True)
def _short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "PROBE_SECONDS", 1.0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def refused(server: Server, join: Join, token: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await join(server, token=token)
    assert refusal.value.response.status_code == 429
    assert refusal.value.response.headers["Retry-After"] == "5"


@pytest.mark.parametrize("settings", SHARES)
async def test_a_dead_connection_gives_way(serve: Serve, join: Join, open_raw: OpenRaw, settings: Any) -> None:
    server = await serve(**settings)
    token = server.tokens.sign("ann")
    alive = await join(server, token=token)
    dead = await open_raw(server, f"/?token={token}")  # it never answers a ping
    for _ in range(2):  # the oldest is probed first, then the other one
        await refused(server, join, token)
    await until(lambda: len(server.roster) == 1)
    await join(server, token=token)
    await alive.hears_nothing()
    await asyncio.wait_for(dead.reader.read(), PATIENCE_SECONDS)
    assert server.counters.closed == {(1001, "idle"): 1}


@pytest.mark.parametrize("settings", SHARES)
async def test_live_connections_answer_the_probe_and_stay(serve: Serve, join: Join, settings: Any) -> None:
    server = await serve(**settings)
    token = server.tokens.sign("ann")
    clients = [await join(server, token=token) for _ in range(2)]
    for _ in range(4):
        await refused(server, join, token)
    await until(lambda: not server.heartbeat._probes)
    for client in clients:
        await client.hears_nothing()
    assert server.counters.closed == {}
