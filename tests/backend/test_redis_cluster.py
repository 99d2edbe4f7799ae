"""A backend that publishes on a Redis Cluster: what it publishes is heard, in order, whoever owns the slots."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import MovedError, ResponseError

from fastws.backend import AsyncRedisBroadcaster, RedisBroadcaster
from fastws.backend.redis_cluster import _Nodes, _Work
from fastws.brokers.redis.wire.cluster.slots import Node, key_slot
from fastws.errors import BadRequest, BrokerUnavailable
from tests.brokers.recording_hub import RecordingHub, passes, subscribed
from tests.brokers.redis.topology.test_redis_cluster import on_cluster, one_channel_per_shard, slot_of
from tests.redis_cluster import RedisCluster

JOBS = "botrix:jobs:updates"


async def heard(hub: RecordingHub, channel: str, count: int) -> list[Any]:
    await hub.until(lambda: len(hub.heard[channel]) >= count)
    return list(hub.heard[channel])


@pytest.mark.parametrize("protocol", [2, 3])
async def test_publications_reach_the_processes(redis_cluster: RedisCluster, protocol: int) -> None:
    channels = [*one_channel_per_shard(redis_cluster), "a{b}%"]
    url = f"{redis_cluster.url}?protocol={protocol}"
    async with on_cluster(redis_cluster) as (broker, hub):
        await subscribed(broker, hub, *channels, JOBS, "workspace:w1")
        many = [{"channel": channel, "event": "e", "data": number} for number in range(20) for channel in channels]
        with RedisBroadcaster(url) as backend:
            outcomes = await asyncio.to_thread(backend.publish_many, many)
            assert [outcome["sent"] for outcome in outcomes] == [1] * len(many)
            for number in range(20):
                await asyncio.to_thread(backend.job_update, "j", f"s{number}", {})
            await asyncio.to_thread(
                backend.broadcast_execution_started, workspace_id="w1", agent_id="a", run_id="r", user_id="u"
            )
        async with AsyncRedisBroadcaster(url) as in_asyncio:
            assert (await in_asyncio.publish("a{b}%", "e", "last"))["sent"] == 1
            assert [one["sent"] for one in await in_asyncio.publish_many(many[:3])] == [1, 1, 1]
        for channel in channels:
            assert (await heard(hub, channel, 20))[:20] == list(range(20))
        assert [job["status"] for job in await heard(hub, JOBS, 20)] == [f"s{number}" for number in range(20)]
        await heard(hub, "workspace:w1", 1)


async def test_a_slot_that_moves_and_a_primary_that_dies_are_followed(redis_cluster: RedisCluster) -> None:
    slot = slot_of("chat")
    async with on_cluster(redis_cluster) as (broker, hub), AsyncRedisBroadcaster(redis_cluster.url) as in_asyncio:
        with RedisBroadcaster(redis_cluster.url) as backend:
            await subscribed(broker, hub, "chat")
            await in_asyncio.publish("chat", "e", 0)
            await asyncio.to_thread(backend.publish, "chat", "e", 1)
            source = redis_cluster.owner(slot)
            target = next(node for node in redis_cluster.running if node.is_primary() and node is not source)
            await asyncio.to_thread(redis_cluster.move_slots, range(slot, slot + 1), target)
            await passes(lambda: broker.topology.node_of("chat").address.port == target.port)
            await passes(lambda: broker.subscriptions.is_confirmed("chat"))
            assert (await in_asyncio.publish("chat", "e", 2))["sent"] == 1
            assert (await asyncio.to_thread(backend.publish, "chat", "e", 3))["sent"] == 1
            await asyncio.to_thread(target.kill)
            await passes(lambda: redis_cluster.owner(slot) is not target)
            await in_asyncio.publish("chat", "e", 4)
            await asyncio.to_thread(backend.publish, "chat", "e", 5)


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:1,127.0.0.1:2", "redis+cluster://127.0.0.1:1?protocol=3"])
async def test_no_node_at_all_is_said(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("fastws.backend.redis_cluster.RETRIES", 1)
    with (
        RedisBroadcaster(url, timeout=0.1) as backend,
        pytest.raises(BrokerUnavailable, match=r"not published: Redis at redis\+cluster://127.0.0.1:1.* does not"),
    ):
        backend.publish("a", "e", 1)
    async with AsyncRedisBroadcaster(url, timeout=0.1) as in_asyncio:
        with pytest.raises(BrokerUnavailable):
            await in_asyncio.publish("a", "e", 1)


async def test_one_server_that_is_no_cluster_is_said(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.backend.redis_cluster.RETRIES", 0)
    with (
        RedisBroadcaster(f"redis+cluster://127.0.0.1:{redis_server.port}") as backend,
        pytest.raises(BrokerUnavailable, match="cluster support disabled"),
    ):
        backend.publish("a", "e", 1)


def test_a_cluster_beside_other_servers_is_refused() -> None:
    with pytest.raises(Exception, match="must be the only URL"):
        RedisBroadcaster(["redis+cluster://a", "redis://b"])
    with pytest.raises(BadRequest), RedisBroadcaster("redis+cluster://a") as backend:
        backend.publish("", "e", 1)


def test_only_what_was_refused_because_of_its_slot_is_tried_again() -> None:
    work = _Work([("SPUBLISH", name, b"") for name in "abc"])
    nodes: _Nodes[Any] = _Nodes([], lambda node: None)  # type: ignore[arg-type,return-value]
    one = Node("h", 1)
    slots = nodes.learn([[0, 16383, [b"h", 1, b"id"]]], one)
    assert work.by_owner(slots) == {one: [0, 1, 2]}
    other = nodes.learn([[0, 16383, ["other", 1, "id", {}]]], one)  # with decode_responses
    assert work.by_owner(other) == {Node("other", 1): [0, 1, 2]}
    work.answered([0, 1, 2], [1, MovedError(f"{key_slot(b'b')} h:2"), 0])
    assert work.by_owner(slots) == {one: [1]}
    assert not work.is_done
    with pytest.raises(ResponseError):
        work.answered([1], [ResponseError("NOPERM")])
    work.answered([1], [2])
    assert work.is_done
    assert work.replies == [1, 2, 0]
    for reply in (None, [], [[0, 5, [b"?", 1]]]):
        with pytest.raises(NoConnection):
            nodes.learn(reply, one)
