"""Counts of Pusher apps: subscribers of other dialects do not count, on one process and on two."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.brokers.recording_hub import passes
from tests.end_to_end.pusher_client import APP, Enter, decoded, enter
from tests.endpoints.conftest import Ask, ask
from tests.endpoints.test_pusher import send
from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS, Join, Serve, join
from tests.webhook_receiver import receiver

__all__ = ["ask", "enter", "join"]

COUNT = "pusher_internal:subscription_count"
INFO = "info=subscription_count"


async def test_other_dialects_do_not_count(
    serve: Serve, ask: Ask, enter: Enter, join: Join, redis_server: RedisServer
) -> None:
    settings: dict[str, Any] = {"redis_url": redis_server.url, "pusher_apps": (APP,), "allow_anonymous": True}
    one, two = [await serve(pusher_namespace=("shared",), **settings) for _ in range(2)]
    client, other = await enter(one), await join(two)
    await client.subscribe("both")
    for channel in ("both", "foreign"):
        await other.ask({"action": "subscribe", "channel": channel})
    await passes(lambda: one.cluster.subscribers("both") == two.cluster.subscribers("both") == 2)
    for server in (one, two):
        assert server.cluster.subscribers("foreign") == 1 or await passes(
            lambda server=server: server.cluster.subscribers("foreign") == 1
        )

        async def get(path: str, query: str, server: Any = server) -> Any:
            return (await send(ask, server, "GET", f"/apps/4711/channels{path}", query=query)).json

        assert await get("/both", INFO) == {"occupied": True, "subscription_count": 1}
        assert await get("/foreign", INFO) == {"occupied": False, "subscription_count": 0}
        assert await get("", "") == {"channels": {"both": {}}}
    # What a process that has missed messages asks for contains the table, too.
    third = await serve(pusher_namespace=("shared",), **settings)
    await passes(lambda: (third.cluster.subscribers("both"), third.cluster.app_subscribers("both")) == (2, 1))
    await other.ask({"action": "unsubscribe", "channel": "both"})
    await passes(lambda: third.cluster.registry.other_dialects == {"foreign": 1})


async def test_subscribers_are_told_how_many_they_are(serve: Serve, enter: Enter, redis_server: RedisServer) -> None:
    async with receiver() as hook:
        one, two = [
            await serve(
                redis_url=redis_server.url,
                pusher_apps=(APP, "2:off:s"),
                pusher_subscription_count=("true", "2=false"),
                pusher_webhooks=(hook.url,),
                pusher_webhook_events=("subscription_count",),
            )
            for _ in range(2)
        ]

        async def counted(client: Any, count: int) -> None:
            expected = {"event": COUNT, "channel": "c", "data": {"subscription_count": count}}
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (found := decoded(await client.hear())) != expected:
                    assert found["event"] == COUNT, found

        first, second = await enter(one), await enter(two)
        assert (await first.subscribe("c"))["event"] == "pusher_internal:subscription_succeeded"
        await counted(first, 1)
        await second.subscribe("c")
        for client in (first, second):
            await counted(client, 2)
        await second.socket.close()
        await counted(first, 1)
        await first.subscribe("presence-p", member={"user_id": "u"})
        await first.hears_nothing()
        silent = await enter(one, "off")
        await silent.subscribe("c")
        await silent.hears_nothing()
        await hook.wait(lambda: any(event["subscription_count"] == 2 for event in hook.events))
        assert hook.events[0] == {"name": "subscription_count", "channel": "c", "subscription_count": 1}
