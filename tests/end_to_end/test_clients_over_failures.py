"""Our clients on two workers and Redis, over failures: nothing lost, nothing twice, and what is lost is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
import redis

from fastws.backend import Broadcaster
from tests.end_to_end.listeners import AsyncListener, Listener, NodeListener, ThreadedListener
from tests.hostile.server_process import BROADCAST_KEY
from tests.redis_server import RedisServer
from tests.workers.supervised import READY, Supervised

PACE_SECONDS = 0.01
FLAGS = ("--history", "**=10000/600", "--recover-limit", "10000", "--allow-anonymous", "true", "--drain-timeout", "0.2")


class World:
    """Redis, a server of two workers, and the publisher of one test. All of its clients hear `channel`."""

    def __init__(self, redis_server: RedisServer, server: Supervised, channel: str, listeners: list[Listener]) -> None:
        self.redis = redis_server
        self.server = server
        self.channel = channel
        self.listeners = listeners
        self.broadcaster = Broadcaster(f"http://127.0.0.1:{server.port}", BROADCAST_KEY, retry_seconds=60)
        self.published = 0

    def publish(self, numbers: int = 1) -> None:
        for _ in range(numbers):
            self.broadcaster.publish(self.channel, "e", {"n": self.published + 1})
            self.published += 1

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish one number after the other during the block."""
        is_over = threading.Event()

        def publish() -> None:
            while not is_over.wait(PACE_SECONDS):
                self.publish()

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def wait_until(self, is_so: Callable[[Listener], object]) -> None:
        for listener in self.listeners:
            listener.wait_until(is_so)

    def hear_all(self) -> None:
        for listener in self.listeners:
            listener.wait_for(self.published)

    def assert_nothing_missed(self) -> None:
        self.publish()
        self.hear_all()
        for listener in self.listeners:
            assert listener.numbers == list(range(1, self.published + 1)), listener
            assert all(listener.recovered), listener

    def assert_gap_told(self) -> None:
        """Each number is heard once, with a gap before the first one that is published from now on."""
        lost_at = self.published
        self.wait_until(lambda listener: listener.gaps)
        self.publish(3)
        self.hear_all()
        for listener in self.listeners:
            assert [n for n in listener.numbers if n is not None] == list(range(1, self.published + 1)), listener
            assert listener.numbers[lost_at] is None, listener
            assert not any(listener.recovered), listener

    def assert_old_position_is_told(self, positions: dict[str, dict[str, object]]) -> None:
        """A client that comes back with a position from before the failure is told that it missed something."""
        late = AsyncListener(self.server.port, self.channel, positions)
        try:
            self.publish()
            late.wait_for(self.published)
            assert late.numbers == [None, self.published]
        finally:
            late.close()

    def position(self) -> dict[str, dict[str, object]]:
        """The position of a client that has heard everything so far."""
        early = AsyncListener(self.server.port, self.channel)
        self.publish()
        early.wait_for(self.published)
        early.close()
        return {channel: dict(position) for channel, position in early.positions.items()}


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


_numbers = count(1)


@pytest.fixture
def world(redis_of_module: RedisServer, server: Supervised, folder: Path) -> Iterator[World]:
    channel = f"c:{next(_numbers)}"
    with ExitStack() as stack:
        listeners: list[Listener] = []
        for make in (
            lambda: AsyncListener(server.port, channel),
            lambda: ThreadedListener(server.port, channel),
            lambda: NodeListener(server.port, channel, folder),
        ):
            listeners.append(make())
            stack.callback(listeners[-1].close)
        world = World(redis_of_module, server, channel, listeners)
        stack.callback(world.broadcaster.close)
        world.publish(3)
        world.hear_all()
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


def test_connections_that_redis_kills_are_not_noticed(world: World) -> None:
    with world.publishing():
        for _ in range(20):
            before = world.published
            world.redis.kill_clients("pubsub")
            world.redis.kill_clients("normal")
            world.server.wait_until(lambda before=before: world.published > before)
    world.assert_nothing_missed()
    assert not any(listener.recovered for listener in world.listeners), "no client was disconnected"


def test_an_outage_of_redis_is_not_noticed(world: World) -> None:
    save(world.redis)
    world.redis.kill()
    world.server.wait_until(lambda: world.server.metric("fastws_broker_up") == 0)
    with world.publishing():
        world.redis.start()
        before = world.published
        world.server.wait_until(lambda: world.published > before + 10)
    world.assert_nothing_missed()
    assert not any(listener.recovered for listener in world.listeners), "no client was disconnected"


def test_a_redis_that_comes_back_empty_is_told(world: World) -> None:
    position = world.position()
    world.hear_all()
    (world.redis.directory / "dump.rdb").unlink(missing_ok=True)
    world.redis.restart_empty()
    world.assert_gap_told()
    world.assert_old_position_is_told(position)


def test_a_redis_that_is_restored_to_an_older_state_is_told(world: World) -> None:
    save(world.redis)
    position = world.position()
    world.publish(5)
    world.hear_all()
    world.redis.kill()
    world.redis.start()
    world.assert_gap_told()
    world.assert_old_position_is_told(position)


def test_a_failover_that_loses_the_last_publications_is_told(world: World) -> None:
    """The replica takes over the port of the primary, as behind a name or an address that moves."""
    replica = RedisServer()
    replica.start("--replicaof", f"127.0.0.1 {world.redis.port}")
    try:
        with replica.client() as client:
            world.server.wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            position = world.position()
            with world.redis.client() as primary:
                primary.wait(1, 0)
            client.replicaof("NO", "ONE")
            world.publish(5)
            world.hear_all()
            world.redis.kill()
            try:
                client.config_set("port", str(world.redis.port))
            except redis.ResponseError:
                pytest.skip("Redis 7 or newer can change its port")
            world.assert_gap_told()
            world.assert_old_position_is_told(position)
    finally:
        replica.close()
        world.redis.kill()
        world.redis.start()


def save(server: RedisServer) -> None:
    """Write everything to disk; the next start reads it."""
    with server.client() as client:
        client.save()
