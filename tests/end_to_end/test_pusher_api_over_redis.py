"""The HTTP API of Pusher over two processes on one Redis: events, exclusion, figures, disconnected users, outages."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.brokers.recording_hub import passes
from tests.end_to_end.pusher_client import Enter, enter
from tests.endpoints.conftest import Ask, ask
from tests.endpoints.pusher_requests import APP
from tests.endpoints.test_pusher import EVENTS, send
from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS, Serve

__all__ = ["ask", "enter"]


async def test_two_processes_answer_as_one(serve: Serve, ask: Ask, enter: Enter, redis_server: RedisServer) -> None:
    one, two = [await serve(redis_url=redis_server.url, pusher_apps=(APP, "1:other:s")) for _ in range(2)]
    ann, bob = await enter(one), await enter(two)
    other = await enter(two, "other")
    await other.subscribe("c")
    for client in (ann, bob):
        await client.subscribe("c")
    await ann.subscribe("presence-r", member={"user_id": "u1"})
    users = {"users": [{"id": "u1"}]}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await send(ask, two, "GET", "/apps/4711/channels/presence-r/users")).json != users:
            await asyncio.sleep(0.01)
    await bob.subscribe("presence-r", member={"user_id": "u2"})
    assert (await ann.hear())["event"] == "pusher_internal:member_added"

    async def get(path: str, query: str = "") -> Any:
        return (await send(ask, one, "GET", f"/apps/4711/{path}", query=query)).json

    await passes(lambda: one.cluster.subscribers("pusher:4711:c") == 2)
    await passes(lambda: one.cluster.registry.others)
    assert await get("channels/presence-r", "info=user_count,subscription_count") == {
        "occupied": True,
        "user_count": 2,
        "subscription_count": 2,
    }
    assert await get("channels") == {"channels": {"c": {}, "presence-r": {}}}
    assert {user["id"] for user in (await get("channels/presence-r/users"))["users"]} == {"u1", "u2"}
    assert await get("connections") == {"connections": 2}
    event = {"name": "e", "data": "1 ", "channel": "c", "socket_id": bob.id}
    assert (await send(ask, one, "POST", EVENTS, event)).json == {}
    assert await ann.hear() == {"event": "e", "channel": "c", "data": "1 "}
    await bob.hears_nothing()
    await other.hears_nothing()
    await bob.sign_in("u2")
    await bob.hear()
    path = "/apps/4711/users/u2/terminate_connections"
    assert (await send(ask, one, "POST", path, b"{}")).json == {}
    assert (await bob.hear())["data"]["code"] == 4009


async def test_without_redis_events_are_refused(serve: Serve, ask: Ask, own_redis_server: RedisServer) -> None:
    server = await serve(redis_url=own_redis_server.url, pusher_apps=(APP,))
    await asyncio.to_thread(own_redis_server.kill)
    answer = await send(ask, server, "POST", EVENTS, {"name": "e", "data": "1", "channel": "c"})
    assert answer.error[:2] == (503, "broker_unavailable")
