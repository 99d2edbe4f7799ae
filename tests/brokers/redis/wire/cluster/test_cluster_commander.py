"""The commander of a cluster's node: commands follow their slot, in order, and to the node that has their keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import hiredis
import pytest

from fastws.brokers.redis.wire.cluster.cluster_commander import ClusterCommander
from fastws.brokers.redis.wire.cluster.slots import Node, key_slot
from fastws.brokers.redis.wire.link import RedisLink
from fastws.brokers.redis.wire.resp import pack
from fastws.redis_address import RedisAddress
from tests.redis_cluster import RedisCluster

PATIENCE_SECONDS = 10.0


class Commanders:
    """A commander for each node, and who owns which slot as far as they were told."""

    def __init__(self) -> None:
        self.by_node: dict[Node, ClusterCommander] = {}
        self.owners: dict[int, Node] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def commander_at(self, node: Node) -> ClusterCommander:
        if node not in self.by_node:
            name = f"test-{node.port}"
            commander = ClusterCommander(
                *(name, lambda: None, lambda reason: None), node=node, slots=self, is_classic=lambda n: n == b"feed"
            )
            address = RedisAddress(host=node.host, port=node.port, is_cluster_node=True)
            link = RedisLink(address, commander, "commands", name=name)
            self.tasks.append(asyncio.get_running_loop().create_task(link.run()))
            self.by_node[node] = commander
        return self.by_node[node]

    def moved(self, slot: int, node: Node) -> ClusterCommander:
        self.owners[slot] = node
        return self.commander_at(node)


@pytest.fixture
async def commanders() -> AsyncIterator[Commanders]:
    found = Commanders()
    yield found
    for task in found.tasks:
        task.cancel()
    await asyncio.gather(*found.tasks, return_exceptions=True)
    await asyncio.sleep(0)


async def ask(commander: ClusterCommander, *words: bytes | str | int, is_bound: bool = False) -> Any:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    commander.send(pack(*words), future.set_result, is_bound=is_bound)
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await future


async def test_commands_for_a_slot_of_another_node_arrive_there_in_order(
    redis_cluster: RedisCluster, commanders: Commanders
) -> None:
    key = b"list"
    owner = redis_cluster.owner(key_slot(key))
    wrong = next(node for node in redis_cluster.running if node.is_primary() and node is not owner)
    commander = commanders.commander_at(Node(*wrong.address))
    sent: list[str] = []
    lengths: list[object] = []
    done = asyncio.Event()

    def push(value: str) -> None:
        sent.append(value)
        commander.send(pack(b"RPUSH", key, value), pushed)

    def pushed(reply: object) -> None:
        lengths.append(reply)
        if len(lengths) == 1:
            # The first has come back and was sent elsewhere: this one follows those that are still under way.
            push("meanwhile")
        if len(lengths) == 201:
            done.set()

    await ask(commander, b"PING", b"")
    for number in range(200):
        push(str(number))
        if number % 20 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await done.wait()
    assert owner.client.lrange("list", 0, -1) == sent
    assert lengths == list(range(1, 202))
    assert commanders.owners == {key_slot(key): Node(*owner.address)}


async def test_bound_command_gets_the_error_once_the_new_owner_is_known(
    redis_cluster: RedisCluster, commanders: Commanders
) -> None:
    key = b"bound"
    owner = redis_cluster.owner(key_slot(key))
    wrong = next(node for node in redis_cluster.running if node.is_primary() and node is not owner)
    commander = commanders.commander_at(Node(*wrong.address))
    await ask(commander, b"PING", b"")
    known: list[object] = []
    commander.send(pack(b"SET", key, 1), lambda _: known.append(dict(commanders.owners)), is_bound=True)
    reply = await ask(commander, b"SET", key, 2, is_bound=True)
    assert isinstance(reply, hiredis.ReplyError)
    assert str(reply).startswith("MOVED ")
    assert known == [{key_slot(key): Node(*owner.address)}]


async def test_key_that_was_carried_over_is_asked_for_where_it_is(
    redis_cluster: RedisCluster, commanders: Commanders
) -> None:
    key = b"carried"
    slot = key_slot(key)
    source = redis_cluster.owner(slot)
    target = next(node for node in redis_cluster.running if node.is_primary() and node is not source)
    commander = commanders.commander_at(Node(*source.address))
    assert await ask(commander, b"SET", key, b"1") == b"OK"
    redis_cluster.begin_move(slot, source, target)
    try:
        assert await ask(commander, b"INCR", key) == 2
        redis_cluster.carry_keys(slot, source, target)
        assert await asyncio.gather(*(ask(commander, b"INCR", key) for _ in range(3))) == [3, 4, 5]
        assert await ask(commander, b"INCR", key, is_bound=True) == 6
        assert commanders.owners == {}
    finally:
        redis_cluster.end_move(slot, source, target)


async def test_names_are_published_sharded_unless_they_are_classic(
    redis_cluster: RedisCluster, commanders: Commanders
) -> None:
    owner = redis_cluster.owner(key_slot(b"live"))
    commander = commanders.commander_at(Node(*owner.address))
    replies: asyncio.Queue[tuple[bytes, object]] = asyncio.Queue()
    with contextlib.closing(owner.client.pubsub()) as pubsub:
        pubsub.ssubscribe("live")
        pubsub.subscribe("feed")
        assert [pubsub.get_message(timeout=5)["type"] for _ in range(2)] == ["ssubscribe", "subscribe"]
        for name in (b"live", b"feed"):
            commander.publish(name, b"text", lambda reply, name=name: replies.put_nowait((name, reply)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert [await replies.get(), await replies.get()] == [(b"live", 1), (b"feed", 1)]
        assert [pubsub.get_message(timeout=5)["type"] for _ in range(2)] == ["smessage", "message"]
