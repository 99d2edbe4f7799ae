"""The broker through a real Redis, while all is well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgpack
import orjson
import pytest

from fastws.backend import RedisBroadcaster
from fastws.brokers.redis import subscriptions
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.config import Config
from fastws.errors import BrokerUnavailable, ConfigError, Unencodable
from fastws.vocabulary.publication import Encoded, Publication
from tests.brokers.recording_hub import AwaitedReceipt, RecordingHub, passes, subscribed
from tests.redis_server import RedisServer

QUICK = RedisTimeouts(linger_seconds=0.2, probe_seconds=0.1)


@asynccontextmanager
async def running(
    url: str, timeouts: RedisTimeouts = QUICK, **settings: object
) -> AsyncIterator[tuple[RedisBroker, RecordingHub]]:
    hub = RecordingHub()
    broker = RedisBroker(hub, Config(redis_url=url, **settings), timeouts=timeouts)  # type: ignore[arg-type]
    await broker.start()
    try:
        yield broker, hub
    finally:
        await broker.stop()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("way", ["unix", "tcp"])
async def test_publication_comes_back_with_all_its_fields(redis_server: RedisServer, way: str, protocol: int) -> None:
    url = redis_server.url if way == "unix" else redis_server.tcp_url
    async with running(f"{url}?protocol={protocol}") as (broker, hub):
        assert broker.is_up
        await subscribed(broker, hub, "admin")
        publication = Publication(
            "admin", "e", Encoded("json", b'{"n":1}'), "kind", "sender", 5, "high", 3, "key", frozenset("x"), {"a": 1}
        )
        receipt = AwaitedReceipt()
        broker.publish(publication, receipt)
        assert await receipt.outcome() == (1, 0)
        assert hub.publications == [publication]


async def test_receipt_counts_local_subscribers_that_refused(redis_server: RedisServer) -> None:
    async with running(redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "admin")
        hub.subscribers["admin"] = 5
        hub.refuses = 2
        receipt = AwaitedReceipt()
        broker.publish(Publication("admin", "e", 1), receipt)
        assert await receipt.outcome() == (3, 2)


async def test_publication_that_nobody_hears_was_sent_to_nobody(redis_server: RedisServer) -> None:
    async with running(redis_server.url) as (broker, hub):
        receipt = AwaitedReceipt()
        broker.publish(Publication("nobody", "e", 1), receipt)
        assert await receipt.outcome() == (0, 0)
        assert hub.publications == []


async def test_publication_that_no_codec_can_say_is_refused(redis_server: RedisServer) -> None:
    async with running(redis_server.url) as (broker, _):
        receipt = AwaitedReceipt()
        broker.publish(Publication("admin", "e", object()), receipt)
        with pytest.raises(Unencodable):
            await receipt.outcome()


async def test_other_publishers_are_heard_in_json_and_in_msgpack(redis_server: RedisServer) -> None:
    message = {"event": "alert", "data": {"n": 1}, "priority": "high"}
    async with running(redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "user:7")
        with redis_server.client() as client:
            assert client.publish("fastws:channel:user:7", orjson.dumps(message)) == 1
            assert client.publish("fastws:channel:user:7", msgpack.packb(message)) == 1
        await hub.until(lambda: len(hub.publications) == 2)
        assert hub.publications == [Publication("user:7", "alert", {"n": 1}, priority="high")] * 2


async def test_poison_is_counted_and_the_next_good_message_arrives(redis_server: RedisServer) -> None:
    async with running(redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "admin")
        poison = [
            b"",
            b"\xff\xfe",
            b"{",
            b"[]",
            b"\xdf\xff\xff\xff\xff",
            b"\xc1\x09",
            b'{"event":7}',
            b"x" * 8_388_608,
        ]
        with redis_server.client() as client:
            for payload in poison:
                client.publish("fastws:channel:admin", payload)
            client.publish("fastws:channel:admin", b'{"event":"e","data":"good"}')
        await hub.until(lambda: hub.heard["admin"] == ["good"])
        assert broker.counters.feed_rejected == {"channels": len(poison)}
        assert broker.is_up


async def test_channel_is_kept_a_while_then_let_go(redis_server: RedisServer) -> None:
    async with running(redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "admin")
        hub.subscribers["admin"] = 0
        broker.unlisten("admin")
        assert b"fastws:channel:admin" in redis_server.channels()
        await passes(lambda: b"fastws:channel:admin" not in redis_server.channels())
        await subscribed(broker, hub, "admin")
        assert b"fastws:channel:admin" in redis_server.channels()


async def test_only_so_many_channels_are_kept_a_while(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_LINGERING", 2)
    async with running(redis_server.url, RedisTimeouts(linger_seconds=600.0)) as (broker, hub):
        for name in "abc":
            await subscribed(broker, hub, name)
        for name in "abc":
            hub.subscribers[name] = 0
            broker.unlisten(name)
        await passes(lambda: b"fastws:channel:c" not in redis_server.channels())
        assert {b"fastws:channel:a", b"fastws:channel:b"} <= set(redis_server.channels())


async def test_churn_on_a_channel_asks_redis_once(redis_server: RedisServer) -> None:
    async with running(redis_server.url, RedisTimeouts(linger_seconds=30.0)) as (broker, hub):
        await subscribed(broker, hub, "admin")
        with redis_server.client() as client:
            before = client.info("commandstats").get("cmdstat_subscribe", {}).get("calls", 0)
            for _ in range(100):
                hub.subscribers["admin"] = 0
                broker.unlisten("admin")
                await subscribed(broker, hub, "admin")
            after = client.info("commandstats").get("cmdstat_subscribe", {}).get("calls", 0)
        assert after == before


async def test_redis_subscriptions_equal_local_ones_after_random_operations(redis_server: RedisServer) -> None:
    """H11: subscribers come and go on few channels, in every interleaving with Redis's confirmations."""
    chance = random.Random(11)
    names = [f"c{number}" for number in range(8)]
    async with running(redis_server.url, RedisTimeouts(linger_seconds=0.001, probe_seconds=0.01)) as (broker, hub):
        unconfirmed = 0

        def joined(name: str) -> None:
            nonlocal unconfirmed
            unconfirmed -= 1
            hub.subscribers[name] += 1

        for _ in range(10_000):
            name = chance.choice(names)
            if hub.subscribers[name] == 0 and chance.random() < 0.6:
                unconfirmed += 1
                broker.listen(name, lambda name=name: joined(name))
            elif hub.subscribers[name]:
                hub.subscribers[name] -= 1
                if not hub.subscribers[name]:
                    broker.unlisten(name)
            if chance.random() < 0.2:
                await asyncio.sleep(0)
            if chance.random() < 0.01:
                await asyncio.to_thread(redis_server.channels)  # replies to earlier commands arrive meanwhile

        def wanted() -> set[bytes]:
            return {f"fastws:channel:{name}".encode() for name in names if hub.subscribers[name]}

        await passes(lambda: not unconfirmed)
        await passes(lambda: {name for name in redis_server.channels() if b":channel:" in name} == wanted())


async def test_ten_thousand_channels_are_subscribed_in_a_few_batches(redis_server: RedisServer) -> None:
    """H10. Batches are what keeps it quick and the loop free; how quick is the machine's affair."""
    with redis_server.client() as client:
        client.config_resetstat()
        async with running(redis_server.url) as (broker, hub):
            await subscribed(broker, hub, *(f"c{number}" for number in range(10_000)))
            assert len(client.pubsub_channels("fastws:channel:*")) == 10_000
            # 20 of 512 channels, and those of the broker's own services.
            assert client.info("commandstats")["cmdstat_subscribe"]["calls"] <= 40


async def test_three_processes_hear_the_same_order_and_everything(redis_server: RedisServer) -> None:
    count, channels = 3_000, ["a", "b", "c"]
    async with (
        running(redis_server.url) as (one, hub_one),
        running(redis_server.tcp_url) as (two, hub_two),
        running(redis_server.url) as (three, hub_three),
    ):
        brokers, hubs = [one, two, three], [hub_one, hub_two, hub_three]
        for broker, hub in zip(brokers, hubs, strict=True):
            await subscribed(broker, hub, *channels)

        async def publisher(who: int) -> None:
            for number in range(count):
                brokers[who].publish(Publication(channels[number % 3], "e", [who, number]))
                if number % 50 == 0:
                    await asyncio.sleep(0)

        await asyncio.gather(*(publisher(who) for who in range(3)))
        for hub in hubs:
            await hub.until(lambda hub=hub: len(hub.publications) == 3 * count)
        assert hub_one.heard == hub_two.heard == hub_three.heard
        for heard in hub_one.heard.values():
            for who in range(3):
                numbers = [number for publisher, number in heard if publisher == who]
                assert numbers == sorted(numbers)


async def test_another_prefix_is_another_world(redis_server: RedisServer) -> None:
    async with (
        running(redis_server.url, redis_prefix="one:") as (one, hub_one),
        running(redis_server.url, redis_prefix="two:") as (two, hub_two),
    ):
        await subscribed(one, hub_one, "admin")
        await subscribed(two, hub_two, "admin")
        one.publish(Publication("admin", "e", 1))
        two.publish(Publication("admin", "e", 2))
        await hub_one.until(lambda: bool(hub_one.heard["admin"]))
        await hub_two.until(lambda: bool(hub_two.heard["admin"]))
        assert (hub_one.heard["admin"], hub_two.heard["admin"]) == ([1], [2])


async def test_stopping_refuses_what_is_under_way(own_redis_server: RedisServer) -> None:
    async with running(own_redis_server.url) as (broker, _):
        own_redis_server.pause()
        receipt = AwaitedReceipt()
        broker.publish(Publication("admin", "e", 1), receipt)
        await broker.stop()
        with pytest.raises(BrokerUnavailable):
            await receipt.outcome()


def test_workspace_template_without_its_place_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="workspace_channel"):
        RedisBroker(RecordingHub(), Config(redis_url="redis://", workspace_channel="workspace"))


async def test_two_installations_with_prefixed_feeds_share_a_redis_and_nothing_else(redis_server: RedisServer) -> None:
    jobs, workspace = "botrix:jobs:updates", "workspace:42"
    prod = {"redis_prefix": "prod:", "redis_prefix_feeds": True}
    staging = {"redis_prefix": "staging:", "redis_prefix_feeds": True}
    async with running(redis_server.url, **prod) as (a, at_a), running(redis_server.url, **staging) as (b, at_b):
        for channel in (jobs, workspace):
            await subscribed(a, at_a, channel)
            await subscribed(b, at_b, channel)
        b.publish(Publication(jobs, "job_update", {"job_id": "1", "status": "staging"}))
        b.publish(Publication(workspace, "alert", "staging"))
        with RedisBroadcaster(redis_server.url, prefix="prod:", prefix_feeds=True) as backend:
            assert backend.job_update("2", "prod", {}) == {"sent": 1, "failed": 0, "stale": 0}
            assert backend.broadcast_alert(workspace_id="42", alert_type="prod", alert_data={})["sent"] == 1
        await at_a.until(lambda: len(at_a.publications) == 2)
        await at_b.until(lambda: len(at_b.publications) == 2)
        assert "staging" not in str(at_a.publications)
        assert "prod" not in str(at_b.publications)
