"""Our clients on two workers and a Redis Cluster: with history nothing is lost, else one gap, elsewhere nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.brokers.redis.topology.test_redis_cluster import slot_of
from tests.end_to_end.world import World, world_of
from tests.redis_cluster import RedisCluster
from tests.workers.supervised import READY, Supervised

FLAGS = ("--history", "kept:**=10000/600", "--recover-limit", "10000", "--allow-anonymous", "true")
_numbers = count(1)


class Worlds(NamedTuple):
    """Channels with and without history on one node, and one without on another."""

    kept: World
    plain: World
    elsewhere: World

    @contextmanager
    def publishing(self) -> Iterator[None]:
        with ExitStack() as stack:
            for world in self:
                stack.enter_context(world.publishing())
            self.publish_some()
            yield
            self.publish_some()

    def publish_some(self) -> None:
        for world in self:
            world.publish_some()

    def assert_told(self) -> None:
        self.kept.assert_nothing_missed()
        self.plain.assert_one_gap()
        self.elsewhere.assert_nothing_missed()
        for world in self:
            world.assert_nobody_was_disconnected()


@pytest.fixture(scope="module")
def server(_shared_redis_cluster: RedisCluster) -> Iterator[Supervised]:
    with Supervised(_shared_redis_cluster.url, *FLAGS) as server:
        server.wait_for(READY, 2)
        yield server


@pytest.fixture
def worlds(redis_cluster: RedisCluster, server: Supervised, folder: Path) -> Iterator[Worlds]:
    owner = redis_cluster.owner(slot_of(f"kept:{next(_numbers)}"))

    def channel(word: str, *, is_elsewhere: bool = False) -> str:
        names = (f"{word}:{number}" for number in _numbers)
        return next(name for name in names if (redis_cluster.owner(slot_of(name)) is owner) != is_elsewhere)

    with ExitStack() as stack:
        yield Worlds(
            *(
                stack.enter_context(world_of(server, name, folder))
                for name in (channel("kept"), channel("plain"), channel("plain", is_elsewhere=True))
            )
        )


def test_a_killed_primary(worlds: Worlds, redis_cluster: RedisCluster) -> None:
    with worlds.publishing():
        redis_cluster.owner(slot_of(worlds.kept.channel)).kill()
        worlds.plain.wait_until(lambda listener: listener.gaps)
    worlds.assert_told()


def test_a_manual_failover(worlds: Worlds, redis_cluster: RedisCluster) -> None:
    with worlds.publishing():
        redis_cluster.fail_over(redis_cluster.replica_of(redis_cluster.owner(slot_of(worlds.kept.channel))))
        worlds.plain.wait_until(lambda listener: listener.gaps)
    worlds.assert_told()


def test_slots_that_move(worlds: Worlds, redis_cluster: RedisCluster) -> None:
    target = redis_cluster.owner(slot_of(worlds.elsewhere.channel))
    with worlds.publishing():
        for world in (worlds.kept, worlds.plain):
            redis_cluster.move_slots(range(slot_of(world.channel), slot_of(world.channel) + 1), target)
        worlds.plain.wait_until(lambda listener: listener.gaps)
    worlds.assert_told()
