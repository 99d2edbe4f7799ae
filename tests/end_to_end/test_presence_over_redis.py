"""Presence of real servers on one Redis: killed, emptied and restarted, all know the right members in the end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fastws.brokers.redis.wire.timeouts import DEFAULT_TIMEOUTS
from fastws.cluster.redis.presence import DOUBT
from fastws.server.server import Server
from tests.end_to_end.ears import DIALECTS, TOKEN
from tests.hostile.server_process import BROADCAST_KEY, SECRET, ServerProcess
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, Join, Message, Serve, Talker

PRESENCE: dict[str, Any] = {"presence": ("**",), "presence_updates": ("**=0",)}
# dialect: path, subscription
WAYS: dict[str, tuple[str, Message | None]] = {
    "channels": ("/", {"action": "subscribe", "channel": "execution:1"}),
    "rooms": ("/api/v1/ws", {"type": "subscribe", "room_id": "execution:1"}),
    "workspaces": ("/ws", None),
    "jobs": ("/ws/", None),
}


async def figures(server: Server | ServerProcess, channel: str = "c", key: str = KEY) -> tuple[int, int]:
    """Number of connections and of users, as the server answers."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        url = f"http://127.0.0.1:{server.port}/channels/{channel}/presence?count=true"
        answer = (await client.get(url, headers={"Authorization": f"Bearer {key}"})).json()
    return answer["count"], answer["users"]


async def until_figures(server: Server, wanted: tuple[int, int], channel: str = "c") -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await figures(server, channel) != wanted:
            await asyncio.sleep(0.05)


async def subscriber(server: Server, join: Join, user: str) -> Talker:
    client = await join(server, token=server.tokens.sign(user, channels=["**"]))
    await client.ask({"action": "subscribe", "channel": "c"})
    return client


async def told(client: Talker, key: str, member: Talker) -> Message:
    """The first update that has `member` in its list `key`."""
    while True:
        update = await client.hear()
        if any(one["connection_id"] == member.id for one in update.get(key, ())):
            return update


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_subscribers_are_told_of_members_of_other_processes(
    serve: Serve, join: Join, redis_server: RedisServer, dialect: str
) -> None:
    servers = [await serve(redis_url=redis_server.url, **PRESENCE) for _ in range(2)]
    path, request = WAYS[dialect]
    token = servers[0].tokens.sign("ann", **{**TOKEN, "channels": ["**"]})
    options = {} if dialect == "jobs" else {"token": token}
    clients = []
    for server in servers:
        client = await join(server, path, greets=dialect != "jobs", **options)
        if request is not None:
            await client.ask(request)
        clients.append(client)
    users = 0 if dialect == "jobs" else 1
    for client in clients:
        while True:
            update = await client.hear()
            # A member of a room is in its own user's room, too.
            if update.get("room_id", "execution:1") == "execution:1" and update.get("count") == 2:
                break
        assert update["users"] == users
    answer = await clients[0].ask(
        {"action": "presence", "channel": "execution:1", "room_id": "execution:1"} | _typed(dialect)
    )
    assert (answer["count"], answer["users"], len(answer["members"])) == (2, users, 2 * users)


def _typed(dialect: str) -> Message:
    return {} if dialect == "channels" else {"type": "presence"}


async def test_members_of_a_killed_process_leave(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url, jwt_secret=SECRET, **PRESENCE)
    flags = ("--redis-url", redis_server.url, "--presence", "**", "--presence-updates", "0")
    with ServerProcess(*flags) as killed:
        stays = await subscriber(server, join, "ann")
        token = server.tokens.sign("bob", channels=["**"])
        leaves = await join(killed, token=token)  # type: ignore[arg-type] # it has a port
        await leaves.ask({"action": "subscribe", "channel": "c"})
        await told(stays, "joined", leaves)
        assert await figures(killed, key=BROADCAST_KEY) == (2, 2)
        killed.process.kill()
        update = await told(stays, "left", leaves)
        assert (update["count"], update["users"]) == (1, 1)
        with redis_server.client() as client:
            assert [field.decode() for field in client.hkeys("fastws:{c}:presence")] == [stays.id]


async def test_a_process_that_stops_takes_its_members_with_it_at_once(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server, stopping = [await serve(redis_url=redis_server.url, **PRESENCE) for _ in range(2)]
    stays, leaves = await subscriber(server, join, "ann"), await subscriber(stopping, join, "bob")
    await told(stays, "joined", leaves)
    await stopping.stop()
    await told(stays, "left", leaves)
    with redis_server.client() as client:
        assert client.hlen("fastws:{c}:presence") == 1


@pytest.mark.parametrize("way", ["FLUSHDB", "restart"])
async def test_members_are_there_again_when_redis_has_forgotten_them(
    serve: Serve, join: Join, own_redis_server: RedisServer, way: str
) -> None:
    first, second = [await serve(redis_url=own_redis_server.url, **PRESENCE) for _ in range(2)]
    ann, bob = await subscriber(first, join, "ann"), await subscriber(second, join, "bob")
    for client in (ann, bob):
        await told(client, "joined", bob)
    with own_redis_server.client() as client:
        client.flushdb()
    if way == "restart":
        own_redis_server.restart_empty()
    async with asyncio.timeout(PATIENCE_SECONDS):
        size = 0
        while size != 2:
            with own_redis_server.client() as client:
                size = client.hlen("fastws:{c}:presence")
            await asyncio.sleep(0.05)
    for server in (first, second):
        await until_figures(server, (2, 2))
    # Neither has been reported as left.
    cid = await subscriber(first, join, "cid")
    for client in (ann, bob):
        while not (message := await client.hear()).get("joined"):
            assert message["type"] == "gap"
        assert [one["connection_id"] for one in message["joined"]] == [cid.id]
        assert message["count"] == 3


def test_the_fifteen_seconds_of_the_contract_contain_all_steps() -> None:
    timeouts = DEFAULT_TIMEOUTS
    beat = timeouts.heartbeat_seconds
    # A dead node: its expiry, found in a beat of the registry, then two beats of presence.
    assert timeouts.node_expiry_seconds + beat + 2 * beat + 0.5 <= 15
    # A member that Redis has lost: every process compares, writes its own again, before others drop it.
    comparison = timeouts.presence_seconds + beat
    assert comparison < DOUBT * timeouts.presence_seconds
    assert comparison + DOUBT * timeouts.presence_seconds + comparison <= 15
