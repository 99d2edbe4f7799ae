"""Cache channels of Pusher: the last event of a backend, or a notice that there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.brokers.recording_hub import passes
from tests.end_to_end.pusher_client import APP, Enter, enter
from tests.end_to_end.test_pusher import broadcast
from tests.end_to_end.test_pusher_over_redis import event
from tests.endpoints.conftest import Ask, ask
from tests.endpoints.test_pusher import EVENTS, send
from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS, Serve
from tests.webhook_receiver import receiver

__all__ = ["ask", "enter"]

MISS = "pusher:cache_miss"
KINDS = ("cache-c", "private-cache-c", "private-encrypted-cache-c", "presence-cache-c")


def member(name: str) -> dict[str, Any]:
    return {"member": {"user_id": "u"}} if name.startswith("presence-") else {}


@pytest.mark.parametrize("name", KINDS)
async def test_the_last_event_comes_after_the_answer(serve: Serve, ask: Ask, enter: Enter, name: str) -> None:
    server = await serve(pusher_apps=(APP,), recover_limit=0)
    first, second = await enter(server), await enter(server)
    assert (await first.subscribe(name, **member(name)))["event"] == "pusher_internal:subscription_succeeded"
    assert await first.hear() == {"event": MISS, "channel": name, "data": "{}"}
    for data in ("1", " 2"):
        # The one with `socket_id` is remembered, too.
        body = {"name": "e", "data": data, "channel": name, "socket_id": first.id}
        assert (await send(ask, server, "POST", EVENTS, body)).json == {}
    assert (await second.subscribe(name, **member(name)))["event"] == "pusher_internal:subscription_succeeded"
    last = {"event": "e", "channel": name, "data": " 2"}
    assert await second.hear() == last
    # Subscribing again succeeds again, with the event.
    assert (await first.subscribe(name, **member(name)))["event"] == "pusher_internal:subscription_succeeded"
    assert await first.hear() == last
    await broadcast(server, {"channel": f"pusher:4711:{name}", "event": "e", "data": {"n": 3}})
    for client in (first, second):
        assert await client.hear() == {"event": "e", "channel": name, "data": '{"n":3}'}
        await client.hears_nothing()


async def test_client_events_and_reserved_ones_are_not_remembered(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), pusher_client_events=("true",))
    first, second = await enter(server), await enter(server)
    await first.subscribe("private-cache-c")
    assert (await first.hear())["event"] == MISS
    await first.say("client-x", {"n": 1}, channel="private-cache-c")
    await first.hears_nothing()
    await second.subscribe("private-cache-c")
    assert (await second.hear())["event"] == MISS
    await broadcast(server, {"channel": "pusher:4711:private-cache-c", "event": "pusher:error", "data": 1})
    third = await enter(server)
    await third.subscribe("private-cache-c")
    assert (await third.hear())["event"] == MISS


async def test_other_channels_remember_nothing(serve: Serve, ask: Ask, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    client = await enter(server)
    for name in ("xcache-c", "private-c"):
        assert (await send(ask, server, "POST", EVENTS, {"name": "e", "data": "1", "channel": name})).json == {}
        await client.subscribe(name)
        await client.hears_nothing()


async def test_the_http_api_shows_what_is_remembered(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,), pusher_cache_ttl=("60",))

    async def get(path: str, query: str = "info=cache") -> Any:
        return await send(ask, server, "GET", f"/apps/4711/channels{path}", query=query)

    assert (await get("/cache-c")).json == {"occupied": False, "cache": None}
    for data, text in ((" {}", " {}"), ("not JSON", "not JSON"), ({"n": 1}, '{"n":1}')):
        await send(ask, server, "POST", EVENTS, {"name": "e", "data": data, "channel": "cache-c"})
        assert (await get("/cache-c")).json["cache"]["data"] == text
    assert 0 < (await get("/cache-c")).json["cache"]["ttl"] <= 60
    await broadcast(server, {"channel": "pusher:4711:cache-c", "event": "e", "data": "hi"})
    assert (await get("/cache-c")).json["cache"]["data"] == '"hi"'
    await broadcast(server, {"channel": "pusher:4711:cache-c", "event": "pusher:x", "data": 1})
    assert (await get("/cache-c")).json["cache"] is None
    assert (await get("/c")).error == (
        400,
        "bad_request",
        "`info` may contain cache only for cache channels, such as cache-x or private-cache-x",
    )
    assert (await get("", "info=cache")).status == 400


@pytest.mark.parametrize("history", [(), ("**=5/3600",)])
async def test_an_event_is_forgotten_after_its_time(serve: Serve, ask: Ask, enter: Enter, history: Any) -> None:
    server = await serve(pusher_apps=(APP,), pusher_cache_ttl=("1",), history=history)
    await send(ask, server, "POST", EVENTS, {"name": "e", "data": "1", "channel": "cache-c"})
    async with asyncio.timeout(PATIENCE_SECONDS):
        found: Any = {}
        while found is not None:
            answer = await send(ask, server, "GET", "/apps/4711/channels/cache-c", query="info=cache")
            found = answer.json["cache"]
    client = await enter(server)
    await client.subscribe("cache-c")
    assert (await client.hear())["event"] == MISS


async def test_two_processes_remember_together(serve: Serve, ask: Ask, enter: Enter, redis_server: RedisServer) -> None:
    one, two = [await serve(redis_url=redis_server.url, pusher_apps=(APP,), recover_limit=0) for _ in range(2)]
    first, second = await enter(one), await enter(two)
    await first.subscribe("cache-r")
    assert (await first.hear())["event"] == MISS
    await send(ask, two, "POST", EVENTS, {"name": "e", "data": "not JSON", "channel": "cache-r"})
    expected = {"event": "e", "channel": "cache-r", "data": "not JSON"}
    assert await first.hear() == expected
    await second.subscribe("cache-r")
    assert await second.hear() == expected
    third = await enter(one)
    await third.subscribe("cache-r")
    assert await third.hear() == expected
    for server in (one, two):
        shown = await send(ask, server, "GET", "/apps/4711/channels/cache-r", query="info=cache")
        assert shown.json["occupied"] is True
        assert shown.json["cache"]["data"] == "not JSON"
        assert 0 < shown.json["cache"]["ttl"] <= 1800
    # A plain publisher.
    with redis_server.client() as client:
        client.publish("fastws:channel:pusher:4711:cache-r", '{"event":"e","data":{"n":2}}')
    for each in (first, second, third):
        assert (await each.hear())["data"] == '{"n":2}'
    fourth = await enter(two)
    await fourth.subscribe("cache-r")
    assert (await fourth.hear())["data"] == '{"n":2}'


async def test_who_joins_without_redis_gets_the_event_later(
    serve: Serve, ask: Ask, enter: Enter, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, pusher_apps=(APP,))
    own_redis_server.kill()
    await passes(lambda: not server.assembly.broker.is_up)  # type: ignore[union-attr]
    client = await enter(server)
    assert (await client.subscribe("cache-r"))["event"] == "pusher_internal:subscription_succeeded"
    await client.hears_nothing()
    own_redis_server.start()
    assert (await event(client, MISS))["channel"] == "cache-r"


async def test_a_miss_is_reported_once_to_webhooks(serve: Serve, enter: Enter) -> None:
    async with receiver() as hook:
        server = await serve(
            pusher_apps=(APP,), pusher_webhooks=(hook.url,), pusher_webhook_events=("cache_miss+member_added",)
        )
        for name in ("cache-a", "cache-a", "presence-cache-b"):
            client = await enter(server)
            await client.subscribe(name, **member(name))
            assert (await client.hear())["event"] == MISS
        await hook.until(3)
        assert sorted((each["name"], each["channel"]) for each in hook.events) == [
            ("cache_miss", "cache-a"),
            ("cache_miss", "presence-cache-b"),
            ("member_added", "presence-cache-b"),
        ]
