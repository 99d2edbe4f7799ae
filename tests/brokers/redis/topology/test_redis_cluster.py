"""The broker on a real Redis Cluster: channels on all of its nodes, and the failures and moves of these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastws.brokers.history import HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.cluster.slots import key_slot
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.config import Config
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import GAP, AwaitedReceipt, RecordingHub, passes, subscribed
from tests.brokers.redis.wire.test_listener import push
from tests.redis_cluster import SLOTS, ClusterNode, RedisCluster
from tests.redis_server import RedisServer

# Nothing is found out by comparing or expiring: what processes tell each other must arrive.
QUICK = RedisTimeouts(
    linger_seconds=0.2,
    probe_seconds=0.1,
    answer_seconds=1.0,
    heartbeat_seconds=0.1,
    node_expiry_seconds=600.0,
    revocations_seconds=600.0,
)
JOBS = "botrix:jobs:updates"


@asynccontextmanager
async def on_cluster(
    cluster: RedisCluster,
    *,
    protocol: int = 2,
    node_id: str | None = None,
    hub: RecordingHub | None = None,
    rules: HistoryRules | None = None,
) -> AsyncIterator[tuple[RedisBroker, RecordingHub]]:
    hub = hub or RecordingHub()
    config = Config(redis_url=f"{cluster.url}?protocol={protocol}")
    broker = RedisBroker(hub, config, timeouts=QUICK, node_id=node_id, rules=rules)
    await broker.start()
    await passes(lambda: len(broker.nodes) >= 3 and all(node.is_up for node in broker.topology.nodes))
    try:
        yield broker, hub
    finally:
        await broker.stop()


def slot_of(channel: str) -> int:
    return key_slot(f"fastws:{{{channel}}}:live".encode())


def channel_on(cluster: RedisCluster, node: ClusterNode, word: str = "c") -> str:
    """A channel whose slot is on `node`."""
    return next(c for c in (f"{word}{number}" for number in range(1000)) if cluster.owner(slot_of(c)) is node)


def one_channel_per_shard(cluster: RedisCluster) -> list[str]:
    primaries = dict.fromkeys(cluster.owner(slot) for slot in range(0, SLOTS, 500))
    return [channel_on(cluster, primary) for primary in primaries]


async def published(broker: RedisBroker, channel: str, value: object) -> tuple[int, int]:
    receipt = AwaitedReceipt()
    broker.publish(Publication(channel, "e", value), receipt)
    return await receipt.outcome()


async def published_in_the_end(broker: RedisBroker, channel: str, value: object) -> None:
    """Publish until it is accepted."""
    async with asyncio.timeout(30):
        while True:
            try:
                await published(broker, channel, value)
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize("protocol", [2, 3])
async def test_channels_of_all_nodes_are_heard_by_all_processes(redis_cluster: RedisCluster, protocol: int) -> None:
    channels = one_channel_per_shard(redis_cluster)
    assert len(channels) >= 3
    async with on_cluster(redis_cluster, protocol=protocol) as (one, here), on_cluster(redis_cluster) as (two, there):
        await subscribed(one, here, *channels)
        await subscribed(two, there, *channels)
        for number in range(20):
            for channel in channels:
                one.publish(Publication(channel, "e", number))
        for channel in channels:
            assert await published(one, channel, "last") == (1, 0)
            await there.until(lambda channel=channel: "last" in there.heard[channel])
        expected = {channel: [*range(20), "last"] for channel in channels}
        assert dict(here.heard) == dict(there.heard) == expected


async def test_plain_publishers_use_spublish_and_feeds_stay_classic(redis_cluster: RedisCluster) -> None:
    async with on_cluster(redis_cluster) as (broker, hub):
        await subscribed(broker, hub, "chat", JOBS)
        redis_cluster.owner(slot_of("chat")).ask("SPUBLISH", "fastws:{chat}:live", '{"event":"e","data":1}')
        for number, node in enumerate(redis_cluster.running):
            node.ask("PUBLISH", JOBS, f'{{"job_id":"j","status":"s","data":{{"n":{number}}}}}')
        await hub.until(lambda: len(hub.heard[JOBS]) == len(redis_cluster.running))
        await hub.until(lambda: hub.heard["chat"] == [1])


async def test_subscriptions_are_dropped_when_nobody_is_left(redis_cluster: RedisCluster) -> None:
    async with on_cluster(redis_cluster) as (broker, hub):
        await subscribed(broker, hub, "chat")
        owner = redis_cluster.owner(slot_of("chat"))
        assert "fastws:{chat}:live" in owner.ask("PUBSUB", "SHARDCHANNELS")  # type: ignore[operator]
        hub.subscribers["chat"] = 0
        broker.unlisten("chat")
        await passes(lambda: "fastws:{chat}:live" not in owner.ask("PUBSUB", "SHARDCHANNELS"))  # type: ignore[operator]


async def test_killed_primary_costs_one_gap_on_its_own_channels_alone(redis_cluster: RedisCluster) -> None:
    channels = one_channel_per_shard(redis_cluster)
    lost, *others = channels
    async with on_cluster(redis_cluster) as (broker, hub):
        await subscribed(broker, hub, *channels)
        redis_cluster.owner(slot_of(lost)).kill()
        await passes(lambda: not broker.subscriptions.is_confirmed(lost))
        for channel in others:
            assert await published(broker, channel, "meanwhile") == (1, 0)
        await hub.until(lambda: hub.heard[lost] == [GAP])
        await published_in_the_end(broker, lost, "after")
        await hub.until(lambda: "after" in hub.heard[lost])
        assert hub.heard == {lost: [GAP, "after"], **{channel: ["meanwhile"] for channel in others}}


async def test_subscription_that_the_owner_ends_is_made_again_there_after_one_gap(redis_cluster: RedisCluster) -> None:
    """A slot that moves away and back, faster than the map is read."""
    async with on_cluster(redis_cluster) as (broker, hub):
        await subscribed(broker, hub, "chat", "other")
        broker.topology.node_of("chat").listener.data_received(push(b"sunsubscribe", b"fastws:{chat}:live", 0))
        assert not broker.subscriptions.is_confirmed("chat")
        await hub.until(lambda: hub.heard["chat"] == [GAP])
        assert await published(broker, "chat", "after") == (1, 0)
        assert await published(broker, "other", "after") == (1, 0)
        assert hub.heard == {"chat": [GAP, "after"], "other": ["after"]}


async def test_failover_costs_one_gap_on_its_own_channels_alone(redis_cluster: RedisCluster) -> None:
    channels = one_channel_per_shard(redis_cluster)
    lost, *others = channels
    async with on_cluster(redis_cluster) as (broker, hub):
        await subscribed(broker, hub, *channels)
        redis_cluster.fail_over(redis_cluster.replica_of(redis_cluster.owner(slot_of(lost))))
        await hub.until(lambda: hub.heard[lost] == [GAP])
        for channel in channels:
            await published_in_the_end(broker, channel, "after")
            await hub.until(lambda channel=channel: "after" in hub.heard[channel])
        assert hub.heard == {lost: [GAP, "after"], **{channel: ["after"] for channel in others}}


async def test_slots_move_to_a_new_node_while_messages_flow(redis_cluster: RedisCluster) -> None:
    """1,000 slots, and a channel in every tenth of them. Order holds, and nobody but the channels moved has a gap."""
    source = redis_cluster.owner(0)
    first = next(slot for slot in range(SLOTS) if redis_cluster.owner(slot) is source)
    moving = range(first, first + 1000)
    names = [f"m{number}" for number in range(60_000) if slot_of(f"m{number}") in moving][:100]
    stays = [
        channel_on(redis_cluster, node, "s") for node in (redis_cluster.owner(SLOTS - 1), redis_cluster.owner(8000))
    ]
    channels = [*names, *stays]
    async with on_cluster(redis_cluster) as (broker, hub):
        await subscribed(broker, hub, *channels)
        target = await asyncio.to_thread(redis_cluster.add_node)
        moved = asyncio.create_task(asyncio.to_thread(redis_cluster.move_slots, moving, target))
        number = 0
        while not moved.done():
            for channel in channels:
                broker.publish(Publication(channel, "e", number))
            number += 1
            await asyncio.sleep(0.02)
        await moved
        await passes(lambda: all(broker.subscriptions.is_confirmed(channel) for channel in channels))
        for channel in channels:
            await published_in_the_end(broker, channel, "last")
            await hub.until(lambda channel=channel: "last" in hub.heard[channel])
        for channel in stays:
            assert hub.heard[channel] == [*range(number), "last"]
        for channel in names:
            heard = [value for value in hub.heard[channel] if value != GAP]
            assert heard[:-1] == sorted(set(heard[:-1]))
            assert hub.heard[channel].count(GAP) == 1
        assert {node.address.port for node in broker.topology.nodes} >= {target.port}


async def test_node_of_a_cluster_is_not_taken_for_a_single_redis(
    redis_cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = redis_cluster.seeds[0]
    broker = RedisBroker(RecordingHub(), Config(redis_url=f"redis://{host}:{port}"), timeouts=QUICK)
    await broker.start()
    try:
        assert not broker.is_up
        await passes(lambda: "redis+cluster://" in caplog.text)
    finally:
        await broker.stop()


async def test_single_redis_is_not_taken_for_a_cluster(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis+cluster://{redis_server.tcp_url.removeprefix('redis://')}"
    broker = RedisBroker(RecordingHub(), Config(redis_url=url), timeouts=QUICK)
    await broker.start()
    try:
        await passes(lambda: "not a node of a Redis Cluster" in caplog.text)
        assert not broker.is_up
        with pytest.raises(BrokerUnavailable):
            await published(broker, "chat", 1)
    finally:
        await broker.stop()
