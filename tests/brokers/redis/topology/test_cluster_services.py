"""What processes share besides channels, on a Redis Cluster: its keys and Redis channels are on all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastws.access.revocation import Revocations
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.cluster.slots import key_slot
from fastws.cluster.redis.cluster import RedisCluster as Processes
from fastws.hub.roster import Roster
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH, connection_ids
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import passes
from tests.brokers.redis.topology.test_redis_cluster import on_cluster
from tests.brokers.small_cluster import Client, HubOfCounts, Local
from tests.cluster.redis.test_message_ids import send
from tests.redis_cluster import RedisCluster


class Process:
    """A process with a broker on the cluster."""

    def __init__(self, broker: RedisBroker, hub: HubOfCounts) -> None:
        self.broker, self.hub = broker, hub
        self.roster = Roster()
        self.revocations = Revocations()
        local = Local(self.roster, self.revocations)
        self.cluster = Processes(broker, local, hub, self.roster, self.revocations)  # type: ignore[arg-type]

    def connect(self, user: str) -> Client:
        client = Client(next(connection_ids(self.broker.node_id)), user)
        self.roster.add(client)  # type: ignore[arg-type]
        return client


@asynccontextmanager
async def two_processes(redis_cluster: RedisCluster) -> AsyncIterator[tuple[Process, Process]]:
    async with AsyncExitStack() as stack:
        found = []
        for node_id in ("a" * NODE_ID_LENGTH, "b" * NODE_ID_LENGTH):
            hub = HubOfCounts()
            broker, _ = await stack.enter_async_context(on_cluster(redis_cluster, node_id=node_id, hub=hub))
            process = Process(broker, hub)
            await process.cluster.start()
            stack.push_async_callback(process.cluster.stop)
            found.append(process)
        one, two = found
        await passes(lambda: one.cluster.registry.others and two.cluster.registry.others)
        yield one, two


async def sees(process: Process, user: str, count: int) -> None:
    async with asyncio.timeout(30):
        while await process.cluster.connections_of(user) != count:
            await asyncio.sleep(0.01)


async def test_processes_know_each_other_and_reach_each_others_clients(redis_cluster: RedisCluster) -> None:
    async with two_processes(redis_cluster) as (one, two):
        client = one.connect("ada")
        one.hub.subscribers["chat"] = 3
        await sees(two, "ada", 1)
        await passes(lambda: two.cluster.subscribers("chat") == 3)
        assert await two.cluster.describe(client.id) == {"id": client.id, "user": "ada"}
        assert await two.cluster.close(client.id)
        await sees(two, "ada", 0)
        await one.cluster.stop()
        await passes(lambda: not two.cluster.registry.others)


async def test_message_ids_and_metrics_and_revocations_are_shared(redis_cluster: RedisCluster) -> None:
    async with two_processes(redis_cluster) as (one, two):
        client = one.connect("ada")
        for _ in range(2):
            assert (await send(one, client))["sent"] == (await send(two, client))["sent"] == 1  # type: ignore[arg-type]
        assert len(client.taken) == 1
        await one.cluster.revoke(token_id="jti", user=None, expires_at=None)
        await passes(lambda: len(two.revocations.of(tokens=("jti",))["tokens"]) == 1)
        one.broker.publish(Publication("workspace:w", "metrics_update", {"metric_type": "cpu", "value": 1}))
        answers: asyncio.Queue[object] = asyncio.Queue()
        await passes(lambda: _has_metrics(two.broker, answers))


def _has_metrics(broker: RedisBroker, answers: asyncio.Queue[object]) -> bool:
    while not answers.empty():
        if answers.get_nowait() != {}:
            return True
    broker.find_metrics("workspace:w", "cpu", answers.put_nowait)
    return False


async def test_registry_outlives_the_node_that_carries_it(redis_cluster: RedisCluster) -> None:
    async with two_processes(redis_cluster) as (one, two):
        one.connect("ada")
        await sees(two, "ada", 1)
        lost = redis_cluster.owner(key_slot(b"fastws:nodes"))
        lost.kill()
        await passes(lambda: two.broker.topology.home.address.port != lost.port)
        one.connect("ada")
        await sees(two, "ada", 2)
