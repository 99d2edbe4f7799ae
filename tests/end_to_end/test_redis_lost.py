"""Redis is killed, emptied, paused or cut off: what clients of every dialect and callers of the API get."""

from __future__ import annotations

import asyncio

import httpx
import orjson
import pytest

from fastws.server.server import Server
from tests.brokers.tcp_proxy import TcpProxy
from tests.end_to_end.ears import DIALECTS, Ear, body_of, everybody, get, listen, metric, post, until
from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS, Join, Serve, Talker


async def is_ready(server: Server) -> bool:
    return (await get(server, "/ready")).status_code == 200


async def is_not_ready(server: Server) -> bool:
    return not await is_ready(server)


async def back_in_order(server: Server) -> None:
    await until(lambda: is_ready(server))
    assert await metric(server, "fastws_broker_up") == 1


async def refused_both_ways(server: Server, sender: Talker) -> None:
    """Both ways to publish answer that the broker is unavailable (how soon: brokers/test_redis_failures.py)."""
    answers = await asyncio.gather(
        sender.ask({"action": "send", "channel": "other", "event": "e", "data": 0, "id": 7}),
        post(server, {"channel": "other", "event": "e", "data": 0}),
        post(server, {"messages": [{"channel": "other", "event": "e"}, {"channel": "other", "event": "f"}]}),
    )
    reply, answer, batch = answers
    assert (reply["type"], reply["code"], reply["id"]) == ("error", "broker_unavailable", 7)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker_unavailable")
    # Of a batch each message has its own outcome: some may have been published.
    assert [result["error"]["code"] for result in batch.json()["results"]] == ["broker_unavailable"] * 2


async def tells_everybody(server: Server, ears: list[Ear], number: int) -> None:
    for ear in ears:
        answer = await post(server, body_of(ear, number))
        assert answer.status_code == 200, answer.text
    for ear in ears:
        # One post for each of the two codecs.
        await ear.hears(number)
        await ear.hears(number)


async def hear_one_gap_each(ears: list[Ear]) -> None:
    for ear in ears:
        assert await ear.client.hear() == ear.gap


async def test_clients_of_every_dialect_stay_while_redis_is_killed_and_comes_back_empty(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    ears = await everybody(server, join)
    sender = await join(server)
    await tells_everybody(server, ears, 1)
    own_redis_server.kill()
    await refused_both_ways(server, sender)
    await until(lambda: is_not_ready(server))
    assert (await get(server, "/ready")).json()["problems"] == ["broker"]
    assert (await get(server, "/health")).status_code == 200
    assert await metric(server, "fastws_broker_up") == 0
    for ear in ears:
        await ear.is_served()
    await refused_both_ways(server, sender)
    await asyncio.to_thread(own_redis_server.start)
    await hear_one_gap_each(ears)
    await back_in_order(server)
    await tells_everybody(server, ears, 2)
    for ear in ears:
        await ear.is_served()  # and nothing else had come


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_gap_notice_comes_before_anything_newer(
    serve: Serve, join: Join, own_redis_server: RedisServer, dialect: str
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    ear = await listen(server, join, dialect, "json")
    own_redis_server.kill()
    await until(lambda: is_not_ready(server))
    await asyncio.to_thread(own_redis_server.start)
    is_over = asyncio.Event()

    async def publish_all_the_time() -> None:
        """From the moment Redis answers, long before the server has subscribed again."""
        number = 0
        with own_redis_server.client() as client:
            while not is_over.is_set():
                body = body_of(ear, number)
                job = {"job_id": "j1", "status": "running"} if dialect == "jobs" else {}
                client.publish(redis_channel(ear), orjson.dumps({**body, **job}))
                number += 1
                await asyncio.sleep(0.005)

    publishing = asyncio.create_task(publish_all_the_time())
    assert await asyncio.wait_for(ear.client.hear(), PATIENCE_SECONDS) == ear.gap
    numbers = [(await ear.client.hear())["data"]["number"] for _ in range(20)]
    is_over.set()
    await publishing
    assert numbers == list(range(numbers[0], numbers[0] + 20))


def redis_channel(ear: Ear) -> str:
    return ear.channel if ear.dialect in ("workspaces", "jobs") else f"fastws:channel:{ear.channel}"


async def test_subscriptions_made_while_redis_is_away_work_afterwards(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    own_redis_server.kill()
    await until(lambda: is_not_ready(server))
    ears = await everybody(server, join)
    gone = await listen(server, join, "channels", "json")
    assert (await gone.client.ask({"action": "unsubscribe", "channel": "news"}))["type"] == "unsubscribe_succeeded"
    await asyncio.to_thread(own_redis_server.start)
    await hear_one_gap_each(ears)
    await back_in_order(server)
    await tells_everybody(server, ears, 1)
    await gone.is_served()
    assert (await gone.client.ask({"action": "ping"}))["type"] == "pong"


async def test_a_redis_that_stands_still_holds_up_nobody(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    ears = await everybody(server, join)
    sender = await join(server)
    own_redis_server.pause()
    try:
        await refused_both_ways(server, sender)
        await until(lambda: is_not_ready(server))
        for ear in ears:
            await ear.is_served()
        await refused_both_ways(server, sender)
    finally:
        own_redis_server.resume()
    await back_in_order(server)
    await tells_everybody(server, ears, 1)


async def test_a_redis_that_stands_still_for_long_is_a_gap(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    ears = await everybody(server, join)
    own_redis_server.pause()
    try:
        await until(lambda: lost_its_listener(server))
    finally:
        own_redis_server.resume()
    await hear_one_gap_each(ears)
    await back_in_order(server)
    await tells_everybody(server, ears, 1)


async def lost_its_listener(server: Server) -> bool:
    return not server.broker.listener.is_up  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_connections_that_redis_cuts_cost_a_gap_notice_at_most(
    serve: Serve, join: Join, own_redis_server: RedisServer, kind: str
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    ears = await everybody(server, join)
    for number in range(1, 4):
        assert own_redis_server.kill_clients(kind) == 1
        if kind == "pubsub":
            await hear_one_gap_each(ears)
        await until(lambda: connected(server))
        await tells_everybody(server, ears, number)


async def connected(server: Server) -> bool:
    broker = server.broker
    return broker.listener.is_up and broker.commander.is_up  # type: ignore[union-attr]


async def test_publications_while_redis_dies_arrive_once_or_are_refused(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    ear = await listen(server, join, "channels", "json")
    succeeded: list[int] = []

    async def send(number: int) -> None:
        answer: httpx.Response = await post(server, body_of(ear, number))
        if answer.status_code == 200 and answer.json()["sent"] == 1:
            succeeded.append(number)

    sending = [asyncio.create_task(send(number)) for number in range(200)]
    await sending[20]
    own_redis_server.kill()
    await asyncio.gather(*sending)
    await asyncio.to_thread(own_redis_server.start)
    heard: list[int] = []
    while (message := await asyncio.wait_for(ear.client.hear(), PATIENCE_SECONDS)) != ear.gap:
        heard.append(message["data"]["number"])
    assert len(heard) == len(set(heard))
    assert set(succeeded) <= set(heard)
    await back_in_order(server)
    assert (await post(server, body_of(ear, 1000))).json() == {"sent": 1, "failed": 0, "stale": 0}
    await ear.hears(1000)


async def test_a_server_that_starts_before_its_redis_becomes_ready_with_it(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    own_redis_server.kill()
    server = await serve(redis_url=own_redis_server.url)
    assert not await is_ready(server)
    ear = await listen(server, join, "rooms", "msgpack")
    await asyncio.to_thread(own_redis_server.start)
    assert await ear.client.hear() == ear.gap
    await back_in_order(server)
    assert (await post(server, body_of(ear, 1))).json()["sent"] == 1
    await ear.hears(1)


async def test_a_process_cut_off_from_redis_says_so_and_the_others_clients_do_not_notice(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    async with TcpProxy(own_redis_server.port) as proxy:
        cut_off, well = await serve(redis_url=proxy.url), await serve(redis_url=own_redis_server.tcp_url)
        lonely, ear = await listen(cut_off, join, "channels", "json"), await listen(well, join, "channels", "json")
        proxy.is_silent = True  # in both directions, and no connection is closed
        await until(lambda: is_not_ready(cut_off))
        await refused_both_ways(cut_off, await join(cut_off))
        assert await is_ready(well)
        assert (await post(well, body_of(ear, 1))).status_code == 200
        await ear.hears(1)
        await ear.is_served()
        await lonely.is_served()
        await until(lambda: lost_its_listener(cut_off))  # before that, the server does not know that messages are lost
        proxy.is_silent = False
        assert await lonely.client.hear() == lonely.gap
        await back_in_order(cut_off)
        assert (await post(cut_off, body_of(ear, 2))).status_code == 200
        await ear.hears(2)
        await lonely.hears(2)
