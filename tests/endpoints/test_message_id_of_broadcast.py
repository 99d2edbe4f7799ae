"""POST /broadcast with a `message_id`: published once, and never lost."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fastws.cluster.redis import message_ids as redis_message_ids
from fastws.server.server import Server
from tests.brokers.recording_hub import passes
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, Join, Serve


async def post(server: Server, body: dict[str, Any]) -> tuple[int, Any]:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        answer = await http.post(
            f"http://127.0.0.1:{server.port}/broadcast", json=body, headers={"Authorization": f"Bearer {KEY}"}
        )
    return answer.status_code, answer.json()


def message(number: int = 1, message_id: str = "m1") -> dict[str, Any]:
    return {"channel": "news", "event": "e", "data": number, "message_id": message_id}


async def test_a_repeated_message_is_delivered_once_and_answered_as_the_first_time(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "news"})
    first = await post(server, message())
    assert first == (200, {"sent": 1, "failed": 0, "stale": 0})
    assert await post(server, message()) == first
    assert (await client.hear())["data"] == 1
    await client.hears_nothing()


async def test_a_message_that_arrives_twice_at_once_is_delivered_once(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "news"})
    status, body = await post(server, {"messages": [message(), message(), message(2, "m2"), message()]})
    assert (status, body) == (200, {"results": [{"sent": 1, "failed": 0, "stale": 0}] * 4})
    assert [(await client.hear())["data"] for _ in range(2)] == [1, 2]
    await client.hears_nothing()


async def test_an_unencodable_message_may_be_sent_again_once_it_is_corrected(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "news"})
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    status, answer = await post(server, message() | {"data": deep})
    assert (status, answer["error"]["code"]) == (400, "bad_request")
    assert (await post(server, message()))[1]["sent"] == 1


async def test_two_processes_publish_a_message_once(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    here, there = [await serve(redis_url=redis_server.url) for _ in range(2)]
    client = await join(here)
    await client.ask({"action": "subscribe", "channel": "news"})
    answers = await asyncio.gather(*(post(server, message()) for server in (here, there) * 3))
    assert len({str(answer) for answer in answers}) == 1
    assert answers[0][0] == 200
    assert (await client.hear())["data"] == 1
    await client.hears_nothing()


async def test_a_message_that_redis_refused_is_delivered_when_it_is_sent_again(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "news"})
    own_redis_server.pause()
    assert (await post(server, message()))[0] == 503
    own_redis_server.resume()

    async def post_until_taken() -> dict[str, Any]:
        status, answer = 503, {}
        while status == 503:
            status, answer = await post(server, message())
        return answer

    answer = await asyncio.wait_for(post_until_taken(), 30)
    # Redis may have carried out the first try after all.
    assert answer["sent"] == 1 or answer["duplicate"] == 1
    heard = [await client.hear()]
    while heard[-1].get("event") != "e":
        heard.append(await client.hear())
    assert heard[-1]["data"] == 1


async def test_a_message_that_is_flushed_after_its_reservation_expired_is_delivered_once(
    serve: Serve, join: Join, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try is answered by the flush, much later; meanwhile Redis knows that it was published."""
    monkeypatch.setattr(redis_message_ids, "WAIT_SECONDS", -1.0)
    slow = await serve(redis_url=redis_server.url, flush_interval=("news=60000",))
    other = await serve(redis_url=redis_server.url)
    client = await join(slow)
    await client.ask({"action": "subscribe", "channel": "news"})
    first = asyncio.create_task(post(slow, message()))
    with redis_server.client() as redis:
        await passes(lambda: (redis.get("fastws:message:m1") or b"").startswith(b"!"))
        assert redis.ttl("fastws:message:m1") > 290
    duplicate = (200, {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1})
    assert await post(other, message()) == duplicate
    assert await post(slow, message()) == duplicate
    await client.ask({"action": "unsubscribe", "channel": "news"})
    assert await first == (200, {"sent": 1, "failed": 0, "stale": 0})
    assert await post(other, message()) == await first
