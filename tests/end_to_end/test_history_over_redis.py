"""History over Redis while connections are cut, Redis restarts empty, whole or with an older state, and two servers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from fastws.brokers.history import HistoryRule
from fastws.server.server import Server
from fastws.vocabulary.positions import Position
from tests.contracts.test_history import Side, running
from tests.end_to_end.ears import metric, until
from tests.end_to_end.test_recovery import hear_numbers, publish
from tests.redis_server import RedisServer
from tests.serving import Join, Message, Serve, Talker

HISTORY: dict[str, Any] = {"history": ("**=1000/60",)}


async def subscribe(client: Talker, **past: object) -> Message:
    return await client.ask({"action": "subscribe", "channel": "c", **past})


def save(server: RedisServer) -> None:
    """Write everything to disk; the next start reads it."""
    with server.client() as client:
        client.save()


async def is_up(server: Server) -> bool:
    return await metric(server, "fastws_broker_up") == 1


async def publish_on(server: Server, count: int, first: int) -> None:
    """Publish `count` messages one by one; each must be accepted, at the latest when tried again."""
    for number in range(first, first + count):

        async def is_accepted(number: int = number) -> bool:
            (answer,) = await publish(server, 1, first=number)
            return "offset" in answer

        await until(is_accepted)


async def test_clients_notice_nothing_when_the_connections_to_redis_are_cut(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, **HISTORY)
    other = await serve(redis_url=own_redis_server.url, **HISTORY)
    client = await join(server)
    await subscribe(client)
    total = 0
    for _ in range(20):
        own_redis_server.kill_clients("pubsub")
        await publish_on(other, 5, total + 1)
        total += 5
    heard = await hear_numbers(client, total)
    assert [offset for offset, _ in heard] == list(range(1, total + 1))
    await client.hears_nothing()


async def test_a_client_that_moves_to_another_process_misses_nothing(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    one = await serve(redis_url=own_redis_server.url, **HISTORY)
    two = await serve(redis_url=own_redis_server.url, **HISTORY)
    client = await join(one)
    epoch = (await subscribe(client))["epoch"]
    await publish(one, 2)
    assert await hear_numbers(client, 2) == [(1, 1), (2, 2)]
    await client.socket.close()
    await publish(one, 3, first=3)
    moved = await join(two)
    reply = await subscribe(moved, offset=2, epoch=epoch)
    assert (reply["recovered"], reply["replayed"], reply["epoch"]) == (True, 3, epoch)
    await publish(one, 1, first=6)
    assert await hear_numbers(moved, 4) == [(3, 3), (4, 4), (5, 5), (6, 6)]


async def test_a_redis_that_comes_back_empty_begins_a_new_epoch(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, **HISTORY)
    client = await join(server)
    epoch = (await subscribe(client))["epoch"]
    await publish(server, 2)
    await hear_numbers(client, 2)
    own_redis_server.kill()
    await asyncio.to_thread(own_redis_server.start)
    gap = await client.hear()
    assert (gap["type"], gap["offset"]) == ("gap", 0)
    assert gap["epoch"] != epoch
    await until(lambda: is_up(server))
    await publish(server, 1, first=3)
    assert await hear_numbers(client, 1) == [(1, 3)]
    late = await join(server)
    assert (await subscribe(late, offset=2, epoch=epoch))["recovered"] is False


async def test_a_redis_that_comes_back_whole_is_not_noticed(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, **HISTORY)
    client = await join(server)
    epoch = (await subscribe(client))["epoch"]
    await publish(server, 2)
    await hear_numbers(client, 2)
    save(own_redis_server)
    own_redis_server.kill()
    await asyncio.to_thread(own_redis_server.start)
    await until(lambda: is_up(server))
    await publish_on(server, 1, 3)
    assert await hear_numbers(client, 1) == [(3, 3)]
    late = await join(server)
    assert (await subscribe(late, offset=1, epoch=epoch))["recovered"] is True
    assert await hear_numbers(late, 2) == [(2, 2), (3, 3)]


async def test_a_redis_that_comes_back_with_an_older_state_begins_a_new_epoch(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, **HISTORY)
    client = await join(server)
    epoch = (await subscribe(client))["epoch"]
    await publish(server, 2)
    save(own_redis_server)
    await publish(server, 2, first=3)
    await hear_numbers(client, 4)
    own_redis_server.kill()
    await asyncio.to_thread(own_redis_server.start)
    gap = await client.hear()
    assert (gap["type"], gap["offset"]) == ("gap", 0)
    assert gap["epoch"] != epoch
    await until(lambda: is_up(server))
    await publish_on(server, 1, 5)
    assert await hear_numbers(client, 1) == [(1, 5)]
    late = await join(server)
    assert (await subscribe(late, offset=2, epoch=epoch))["recovered"] is False


async def test_a_channel_that_nobody_vouches_for_begins_a_new_epoch(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, **HISTORY)
    (answer, _) = await publish(server, 2)
    save(own_redis_server)
    own_redis_server.kill()
    await asyncio.to_thread(own_redis_server.start)
    await until(lambda: is_up(server))
    await publish_on(server, 1, 3)
    client = await join(server)
    reply = await subscribe(client, offset=2, epoch=answer["epoch"])
    assert (reply["offset"], reply["recovered"]) == (1, False)


async def test_who_subscribes_while_redis_is_away_gets_the_position_later(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, **HISTORY)
    early = await join(server)
    epoch = (await subscribe(early))["epoch"]
    await publish(server, 1)
    await hear_numbers(early, 1)
    save(own_redis_server)
    own_redis_server.kill()

    async def is_lost() -> bool:
        return await metric(server, "fastws_broker_up") == 0

    await until(is_lost)
    late = await join(server)
    reply = await subscribe(late, offset=1, epoch=epoch)
    assert reply == {"type": "subscription_succeeded", "channel": "c", "recovered": False, "replayed": 0}
    other = await join(server)
    assert await subscribe(other) == {"type": "subscription_succeeded", "channel": "c"}
    await asyncio.to_thread(own_redis_server.start)
    for client in (late, other):
        assert await client.hear() == {"type": "gap", "channel": "c", "offset": 1, "epoch": epoch}
    await until(lambda: is_up(server))
    await publish_on(server, 1, 2)
    for client in (early, late, other):
        assert await hear_numbers(client, 1) == [(2, 2)]


async def test_a_cleared_history_is_a_gap_on_every_process(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    one = await serve(redis_url=own_redis_server.url, **HISTORY)
    two = await serve(redis_url=own_redis_server.url, **HISTORY)
    clients = [await join(one), await join(two)]
    for client in clients:
        await subscribe(client)
    await publish(one, 2)
    for client in clients:
        await hear_numbers(client, 2)
    one.assembly.broker.history.clear("c", lambda answer: None)  # type: ignore[union-attr]
    gaps = [await client.hear() for client in clients]
    assert gaps[0] == gaps[1]
    assert gaps[0]["offset"] == 0
    await publish(two, 1, first=3)
    for client in clients:
        assert await hear_numbers(client, 1) == [(1, 3)]


def reads(server: RedisServer) -> int:
    """How often streams were read."""
    with server.client() as client:
        statistics: dict[str, dict[str, int]] = client.info("commandstats")
    return statistics.get("cmdstat_xrange", {}).get("calls", 0)


async def test_a_storm_of_clients_that_return_reads_redis_once(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url, **HISTORY)
    answers = await publish(server, 20)
    epoch = answers[0]["epoch"]
    clients = [await join(server) for _ in range(50)]
    before = reads(own_redis_server)
    for client in clients:
        await client.say({"action": "subscribe", "channel": "c", "offset": 10, "epoch": epoch})
    for client in clients:
        assert (await client.hear())["replayed"] == 10
        assert [offset for offset, _ in await hear_numbers(client, 10)] == list(range(11, 21))
    assert reads(own_redis_server) - before <= 2


async def test_five_thousand_subscribers_that_return_at_once_cost_each_process_one_read(
    own_redis_server: RedisServer,
) -> None:
    async with AsyncExitStack() as stack:
        rule, url = HistoryRule(1000, 60.0), own_redis_server.url
        publishing, *processes = [
            await stack.enter_async_context(running(Side("redis", url, rule, 1000))) for _ in range(3)
        ]
        position = (await publishing.subscribe()).position
        assert position is not None
        await publishing.publish(100)
        before = reads(own_redis_server)
        returning = [(side, offset % 100) for side in processes for offset in range(5000)]
        recoveries = await asyncio.gather(
            *(side.subscribe(Position(offset, position.epoch)) for side, offset in returning)
        )
        for recovery, (_, offset) in zip(recoveries, returning, strict=True):
            assert recovery.outcome == "recovered"
            assert [each.offset for each in recovery.publications] == list(range(offset + 1, 101))
        assert reads(own_redis_server) - before <= len(processes)
