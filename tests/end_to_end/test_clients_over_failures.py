"""Our clients on two workers and Redis, over failures: nothing lost, nothing twice, and what is lost is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import redis

from tests.end_to_end.world import World, world_of
from tests.redis_server import RedisServer
from tests.workers.supervised import READY, Supervised

FLAGS = ("--history", "**=10000/600", "--recover-limit", "10000", "--allow-anonymous", "true", "--drain-timeout", "0.2")


@pytest.fixture(scope="module")
def redis_of_module() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(redis_of_module: RedisServer) -> Iterator[Supervised]:
    with Supervised(redis_of_module.tcp_url, *FLAGS) as server:
        server.wait_for(READY, 2)
        yield server


_numbers = count(1)


@pytest.fixture
def world(server: Supervised, folder: Path) -> Iterator[World]:
    with world_of(server, f"c:{next(_numbers)}", folder) as world:
        yield world


def test_a_roll_of_the_workers_is_not_noticed(world: World) -> None:
    with world.publishing():
        world.server.signal(signal.SIGHUP)
        world.wait_until(lambda listener: listener.recovered)
    world.assert_nothing_missed()


def test_workers_that_are_killed_are_not_noticed(world: World) -> None:
    with world.publishing():
        for worker in world.server.workers():
            ready = len(world.server.log_lines(READY))
            os.kill(worker.pid, signal.SIGKILL)
            world.server.wait_for(READY, ready + 1)
        world.wait_until(lambda listener: listener.recovered)
    world.assert_nothing_missed()


def test_connections_that_redis_kills_are_not_noticed(world: World, redis_of_module: RedisServer) -> None:
    with world.publishing():
        for _ in range(20):
            redis_of_module.kill_clients("pubsub")
            redis_of_module.kill_clients("normal")
            world.publish_some(1)
    world.assert_nothing_missed()
    world.assert_nobody_was_disconnected()


def test_an_outage_of_redis_is_not_noticed(world: World, redis_of_module: RedisServer) -> None:
    save(redis_of_module)
    redis_of_module.kill()
    world.server.wait_until(lambda: world.server.metric("fastws_broker_up") == 0)
    with world.publishing():
        redis_of_module.start()
        world.publish_some()
    world.assert_nothing_missed()
    world.assert_nobody_was_disconnected()


def test_a_redis_that_comes_back_empty_is_told(world: World, redis_of_module: RedisServer) -> None:
    position = world.position()
    world.hear_all()
    (redis_of_module.directory / "dump.rdb").unlink(missing_ok=True)
    redis_of_module.restart_empty()
    world.assert_gap_told()
    world.assert_old_position_is_told(position)


def test_a_redis_that_is_restored_to_an_older_state_is_told(world: World, redis_of_module: RedisServer) -> None:
    save(redis_of_module)
    position = world.position()
    world.publish(5)
    world.hear_all()
    redis_of_module.kill()
    redis_of_module.start()
    world.assert_gap_told()
    world.assert_old_position_is_told(position)


def test_a_failover_that_loses_the_last_publications_is_told(world: World, redis_of_module: RedisServer) -> None:
    """The replica takes over the port of the primary, as behind a name or an address that moves."""
    replica = RedisServer()
    replica.start("--replicaof", f"127.0.0.1 {redis_of_module.port}")
    try:
        with replica.client() as client:
            world.server.wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            position = world.position()
            with redis_of_module.client() as primary:
                primary.wait(1, 0)
            client.replicaof("NO", "ONE")
            world.publish(5)
            world.hear_all()
            redis_of_module.kill()
            try:
                client.config_set("port", str(redis_of_module.port))
            except redis.ResponseError:
                pytest.skip("Redis 7 or newer can change its port")
            world.assert_gap_told()
            world.assert_old_position_is_told(position)
    finally:
        replica.close()
        redis_of_module.kill()
        redis_of_module.start()


def save(server: RedisServer) -> None:
    """Write everything to disk; the next start reads it."""
    with server.client() as client:
        client.save()
