"""What processes share, on a real Redis Cluster: its keys lie on all nodes, and nodes fail and slots move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.wire.cluster.slots import key_slot
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import passes
from tests.brokers.small_cluster import QUICK, processes
from tests.cluster.redis.present import present
from tests.cluster.redis.test_message_ids import publish, send
from tests.cluster.redis.test_webhooks import Node, nodes
from tests.redis_cluster import ClusterNode, RedisCluster
from tests.webhook_receiver import Receiver, receiver

A, B = "nodeAA", "nodeBB"
WEBHOOKS = key_slot(b"fastws:{webhooks}:")


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


def owner(cluster: RedisCluster, key: str) -> ClusterNode:
    return cluster.owner(key_slot(key.encode()))


async def test_ids_and_metrics_lie_where_the_channel_does(redis_cluster: RedisCluster) -> None:
    async with processes(redis_cluster.url, A, B) as (a, b):
        moves: list[object] = []
        for process in (a, b):
            await passes(lambda process=process: len(process.broker.nodes) >= 3)
            process.broker.topology.moved = lambda *of: moves.append(of)  # type: ignore[attr-defined]
        for channel in ("c1", "c2", "c3", "workspace:w{1}"):
            assert await publish(a, channel=channel) == await publish(b, channel=channel)
            a.broker.publish(Publication(channel, "metrics_update", {"metric_type": "a:b"}))
        client = b.connect("bob")
        assert [(await send(process, client))["sent"] for process in (a, b, a)] == [1, 1, 1]
        assert len(client.taken) == 1
        for name in (
            "fastws:{c1}:message:m1",
            "fastws:{workspace:w%7B1%7D}:message:m1",
            f"fastws:{{node:{B}}}:message:m1",
        ):
            assert owner(redis_cluster, name).ask("EXISTS", name) == 1
        name = "fastws:{workspace:w%7B1%7D}:metrics:a%3Ab"
        await passes(lambda: owner(redis_cluster, name).ask("EXISTS", name) == 1)
        assert moves == []


async def test_a_request_reaches_a_process_that_is_being_subscribed_again(redis_cluster: RedisCluster) -> None:
    async with processes(redis_cluster.url, A, B) as (a, b):
        await passes(lambda: a.cluster.registry.others)
        client = b.connect("bob")
        names = (f"fastws:{{node:{B}}}".encode(),)
        b.broker.listener.drop(names)
        node = owner(redis_cluster, names[0].decode())
        await passes(lambda: names[0] not in node.ask("PUBSUB", "SHARDCHANNELS"))  # type: ignore[operator]
        found = asyncio.ensure_future(a.cluster.describe(client.id))
        published: list[object] = []
        publish = a.broker.commander.publish
        a.broker.commander.publish = lambda name, *of: (published.append(name), publish(name, *of))  # type: ignore[assignment]
        await passes(lambda: names[0] in published)
        b.broker.listener.want(names)
        assert await found == {"id": client.id, "user": "bob"}


def evalsha_calls(node: ClusterNode) -> int:
    stats: Any = node.client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_a_message_with_an_id_reaches_it_too_and_once(redis_cluster: RedisCluster) -> None:
    async with processes(redis_cluster.url, A, B) as (a, b):
        await passes(lambda: a.cluster.registry.others)
        client = b.connect("bob")
        names = (f"fastws:{{node:{B}}}".encode(),)
        b.broker.listener.drop(names)
        key = f"fastws:{{node:{B}}}:message:m1"
        node = owner(redis_cluster, key)
        await passes(lambda: names[0] not in node.ask("PUBSUB", "SHARDCHANNELS"))  # type: ignore[operator]
        calls = evalsha_calls(node)
        sent = asyncio.ensure_future(send(a, client))
        await passes(lambda: evalsha_calls(node) > calls + 1)
        b.broker.listener.want(names)
        assert (await sent)["sent"] == 1
        assert (await send(b, client))["sent"] == 1
        assert len(client.taken) == 1


async def test_a_request_to_a_process_that_is_gone_ends_at_once(redis_cluster: RedisCluster) -> None:
    async with processes(redis_cluster.url, A) as (a,):
        await passes(lambda: a.broker.is_up)
        assert await a.cluster.describe(f"{B}-1") is None


async def test_presence_survives_a_primary_and_the_move_of_its_slot(redis_cluster: RedisCluster) -> None:
    async with present(redis_cluster.url, A, B) as (one, two):
        await passes(lambda: one.cluster.registry.others and two.cluster.registry.others)
        here, there = one.join("ann"), two.join("bob")
        for process in (one, two):
            await process.knows(here, there)
        slot, key = key_slot(b"fastws:{c}:presence"), "fastws:{c}:presence"
        source = redis_cluster.owner(slot)
        target = next(node for node in redis_cluster.running if node.is_primary() and node is not source)
        await asyncio.to_thread(redis_cluster.move_slots, range(slot, slot + 1), target)
        more = [one.join("cid"), two.join("dan")]
        for process in (one, two):
            await process.knows(here, there, *more)
        assert target.ask("HLEN", key) == 4
        target.kill()
        last = two.join("eve")
        async with asyncio.timeout(60):
            while last not in {member.connection_id for member in (await one.page()).members or ()}:
                for process in (one, two):
                    process.now += 10.0
                    process.presence.beat()
                await asyncio.sleep(0.1)
        for process in (one, two):
            await process.knows(here, there, *more, last)


async def test_revocations_reach_all_and_outlive_a_primary(redis_cluster: RedisCluster) -> None:
    async with processes(redis_cluster.url, A, B) as (a, b):
        await passes(lambda: a.cluster.registry.others and b.cluster.registry.others)
        client = b.connect("bob")
        await a.cluster.revoke(token_id="t1", user="bob")
        await passes(lambda: client.is_revoked)
        key = "fastws:revoked:users"
        await asyncio.to_thread(owner(redis_cluster, key).kill)
        await passes(lambda: key_is_at_another(redis_cluster, key))
        async with processes(redis_cluster.url, "nodeCC") as (c,):
            await passes(lambda: len(c.revocations) == 2)


def key_is_at_another(cluster: RedisCluster, key: str) -> bool:
    return owner(cluster, key).is_running and owner(cluster, key).ask("EXISTS", key) == 1


async def test_webhooks_of_several_processes_are_sent_once_and_in_order(
    redis_cluster: RedisCluster, hook: Receiver
) -> None:
    async with nodes(redis_cluster.url, hook, A, B, grace=0.0) as (a, b):
        await tell_in_turn(a, b, hook, range(10))
        source = redis_cluster.owner(WEBHOOKS)
        target = next(node for node in redis_cluster.running if node.is_primary() and node is not source)
        redis_cluster.begin_move(WEBHOOKS, source, target)
        a.webhooks.tell("1", "client_event", "c", data=10)
        await passes(
            lambda: "TRYAGAIN" in str(source.ask("INFO", "errorstats")) + str(target.ask("INFO", "errorstats"))
        )
        # MIGRATE would fail if scripts had made a key there meanwhile.
        await asyncio.to_thread(redis_cluster.carry_keys, WEBHOOKS, source, target)
        await asyncio.to_thread(redis_cluster.end_move, WEBHOOKS, source, target)
        await hook.until(11)
        await tell_in_turn(a, b, hook, range(11, 20))
        assert [event["data"] for event in hook.events] == list(range(20))
        await asyncio.to_thread(target.kill)
        a.webhooks.tell("1", "client_event", "end")
        await hook.wait(lambda: ("client_event", "end") in hook.told)


async def tell_in_turn(a: Node, b: Node, hook: Receiver, numbers: range) -> None:
    for number in numbers:
        node = (a, b)[number % 2]
        node.webhooks.tell("1", "client_event", "c", data=number)
        await node.has_written()
    await hook.until(numbers.stop)


async def test_nobody_counts_as_dead_while_their_messages_do_not_arrive(redis_cluster: RedisCluster) -> None:
    """The node of the registry's slot has lost this process; the home node's own connections are up."""
    async with processes(redis_cluster.url, A, timeouts=replace(QUICK, node_expiry_seconds=0.0)) as (a,):
        await passes(lambda: not a.cluster.registry.is_alive(B))
        topology = a.broker.topology
        node = next(one for one in topology.nodes if (b"fastws:nodes",) in one.listener._asked)
        assert node is not topology.home
        lost, seen = a.broker.listener_lost, []

        def look(node: RedisNode) -> None:
            lost(node)
            is_served = a.broker.is_served(b"fastws:nodes")
            seen.append((is_served, topology.home.listener.is_up, a.cluster.registry.is_alive(B)))

        a.broker.listener_lost = look  # type: ignore[method-assign]
        node.listener.give_up("the test")
        await passes(lambda: seen)
        assert seen[0] == (False, True, True)
        await passes(lambda: not a.cluster.registry.is_alive(B))
