"""Our clients on two workers and Redis Sentinel, over failures: nothing is lost with history, and else one gap told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.end_to_end.world import World, world_of
from tests.redis_sentinel import SERVICE, SentinelProcess, SentinelSetUp
from tests.redis_server import RedisServer
from tests.workers.supervised import READY, Supervised

FLAGS = ("--history", "kept:**=10000/600", "--recover-limit", "10000", "--allow-anonymous", "true")


@pytest.fixture(scope="module")
def server(sentinel_set_up: SentinelSetUp) -> Iterator[Supervised]:
    with Supervised(sentinel_set_up.url, *FLAGS) as server:
        server.wait_for(READY, 2)
        yield server


_numbers = count(1)


@pytest.fixture
def kept(server: Supervised, folder: Path) -> Iterator[World]:
    """On a channel with history."""
    with world_of(server, f"kept:{next(_numbers)}", folder) as world:
        yield world


@pytest.fixture
def plain(server: Supervised, folder: Path) -> Iterator[World]:
    """On a channel without history."""
    with world_of(server, f"plain:{next(_numbers)}", folder) as world:
        yield world


@pytest.fixture(autouse=True)
def _whole(sentinel_set_up: SentinelSetUp) -> Iterator[None]:
    yield
    sentinel_set_up.repair()


@contextmanager
def followed_by_all_workers(server: Supervised) -> Iterator[None]:
    """The block causes a failover. Wait until both workers have moved to the new primary."""
    before = server.metric("fastws_broker_failovers_total")
    yield
    server.wait_until(lambda: server.metric("fastws_broker_failovers_total") >= before + 2)


def test_a_killed_primary(kept: World, plain: World, sentinel_set_up: SentinelSetUp) -> None:
    with kept.publishing(), plain.publishing():
        with followed_by_all_workers(kept.server):
            sentinel_set_up.primary.kill()
        kept.publish_some()
        plain.publish_some()
    kept.assert_nothing_missed()
    plain.assert_one_gap()
    for world in (kept, plain):
        world.assert_nobody_was_disconnected()
    metric, node = kept.server.metric, f"sentinel://{SERVICE}/0"
    kept.server.wait_until(lambda: metric("fastws_broker_node_up", node=node) == 1)
    kept.server.wait_until(lambda: metric("fastws_broker_node_lag_seconds", node=node) > 0)
    assert metric("fastws_broker_node_up") == 1


def test_a_failover_by_command(kept: World, plain: World, sentinel_set_up: SentinelSetUp) -> None:
    """The old primary answers for 2 s more. What it takes after a replica has become the primary is lost, and told."""
    with kept.publishing(), plain.publishing():
        with followed_by_all_workers(kept.server):
            sentinel_set_up.start_failover()
        kept.publish_some()
        plain.publish_some()
    for world in (kept, plain):
        world.assert_all_told()
        world.assert_nobody_was_disconnected()


def test_several_failovers_in_a_row(kept: World, plain: World, sentinel_set_up: SentinelSetUp) -> None:
    with kept.publishing(), plain.publishing():
        for _ in range(2):
            with followed_by_all_workers(kept.server):
                sentinel_set_up.start_failover()
            sentinel_set_up.wait_until_whole()
        kept.publish_some()
        plain.publish_some()
    for world in (kept, plain):
        world.assert_all_told()
        world.assert_nobody_was_disconnected()


def test_a_primary_demoted_by_hand_with_its_connections_alive(
    kept: World, plain: World, sentinel_set_up: SentinelSetUp
) -> None:
    with kept.publishing(), plain.publishing():
        with followed_by_all_workers(kept.server):
            sentinel_set_up.replace_primary_by_hand()
        kept.publish_some()
        plain.publish_some()
    for world in (kept, plain):
        world.assert_all_told()
        world.assert_nobody_was_disconnected()


def test_a_primary_that_freezes_and_thaws(kept: World, plain: World, sentinel_set_up: SentinelSetUp) -> None:
    frozen = sentinel_set_up.primary
    with kept.publishing(), plain.publishing():
        with followed_by_all_workers(kept.server):
            frozen.pause()
        try:
            kept.publish_some()
        finally:
            frozen.resume()
        sentinel_set_up.wait_until_whole()
        kept.publish_some()
        plain.publish_some()
    kept.assert_nothing_missed()
    plain.assert_one_gap()


def test_writes_that_only_the_dead_primary_had(kept: World, sentinel_set_up: SentinelSetUp) -> None:
    primary = sentinel_set_up.primary
    replicas = [server for server in sentinel_set_up.servers if server is not primary]
    position = kept.position()
    kept.hear_all()
    with primary.client() as client:
        client.wait(len(replicas), 0)
    for replica in replicas:
        replica.pause()
    try:
        # Otherwise the kernel would hand the writes over.
        primary.kill_clients("replica")
        kept.publish(5)
        kept.hear_all()
        primary.kill()
    finally:
        for replica in replicas:
            replica.resume()
    kept.assert_gap_told()
    kept.assert_old_position_is_told(position)


def test_a_primary_that_comes_back_empty_before_it_is_missed(kept: World, sentinel_set_up: SentinelSetUp) -> None:
    """A primary that saves nothing: the replicas copy the empty one."""
    position = kept.position()
    kept.hear_all()
    sentinel_set_up.primary.restart_empty()
    kept.assert_gap_told()
    kept.assert_old_position_is_told(position)


def test_a_primary_that_is_emptied(kept: World, sentinel_set_up: SentinelSetUp) -> None:
    position = kept.position()
    kept.hear_all()
    with sentinel_set_up.primary.client() as client:
        client.flushall()
    kept.publish()
    kept.assert_all_told()
    kept.assert_old_position_is_told(position)


def test_all_sentinels_gone(kept: World, plain: World, sentinel_set_up: SentinelSetUp) -> None:
    primary = sentinel_set_up.primary
    with kept.publishing(), plain.publishing():
        for sentinel in sentinel_set_up.sentinels:
            sentinel.kill()
        kept.publish_some()
    for world in (kept, plain):
        world.assert_nothing_missed()
        assert not any(listener.gaps for listener in world.listeners)
    primary.kill()
    kept.server.wait_until(lambda: kept.server.metric("fastws_broker_up") == 0)
    for sentinel in sentinel_set_up.sentinels:
        sentinel.start()
    for world in (kept, plain):
        world.publish()
    kept.assert_nothing_missed()
    plain.assert_one_gap()


def test_one_sentinel_that_lies(folder: Path, sentinel_set_up: SentinelSetUp, own_redis_server: RedisServer) -> None:
    """It names a primary that works, but is another one: before, while and after the true one is replaced.

    The others do not know it: Sentinels that know each other soon say the same.
    """
    with ExitStack() as stack:
        liar = SentinelProcess(own_redis_server.port)
        stack.callback(liar.close)
        liar.start()
        others = sentinel_set_up.url.partition(",")[2]
        url = f"redis+sentinel://127.0.0.1:{liar.port},{others}"
        server = stack.enter_context(Supervised(url, *FLAGS))
        kept = stack.enter_context(world_of(server, f"kept:{next(_numbers)}", folder))
        plain = stack.enter_context(world_of(server, f"plain:{next(_numbers)}", folder))
        with kept.publishing(), plain.publishing():
            kept.publish_some()
            with followed_by_all_workers(server):
                sentinel_set_up.primary.kill()
            kept.publish_some()
            plain.publish_some()
        kept.assert_nothing_missed()
        plain.assert_one_gap()
        named = {line["address"] for line in server.log_lines("redis sentinel names a primary")}
        assert f"redis://127.0.0.1:{own_redis_server.port}/0" not in named
