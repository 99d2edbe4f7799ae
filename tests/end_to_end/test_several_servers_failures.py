"""Our clients on two workers and a list of two Redis servers: what happens to one concerns its own channels alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastws.backend import Broadcaster
from fastws.errors import BrokerUnavailable
from fastws.rendezvous import position_of
from tests.end_to_end.listeners import AsyncListener
from tests.end_to_end.world import World, world_of
from tests.hostile.server_process import BROADCAST_KEY
from tests.redis_server import RedisServer
from tests.workers.supervised import READY, Supervised

FLAGS = ("--history", "kept:**=10000/600", "--recover-limit", "10000", "--allow-anonymous", "true")


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    """Two in use, and a third one."""
    servers = [RedisServer() for _ in range(3)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def server(servers: list[RedisServer]) -> Iterator[Supervised]:
    with Supervised(list_of(servers[:2]), *FLAGS) as server:
        server.wait_for(READY, 2)
        yield server


class Channels:
    """Names of channels by server, each used once."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self._identities = [server.tcp_url for server in servers]
        self._used = 0

    def place_of(self, channel: str) -> int:
        return position_of(channel, self._identities)

    def on(self, place: int, kind: str) -> str:
        while True:
            self._used += 1
            channel = f"{kind}:{self._used}"
            if self.place_of(channel) == place:
                return channel


@pytest.fixture(scope="module")
def channels(servers: list[RedisServer]) -> Channels:
    return Channels(servers[:2])


def list_of(servers: list[RedisServer]) -> str:
    return ",".join(server.tcp_url for server in servers)


class Worlds:
    """Clients on channels of the server that is hurt, and of the other one."""

    def __init__(self, server: Supervised, channels: Channels, folder: Path, stack: ExitStack) -> None:
        self.server = server

        def made(place: int, kind: str) -> World:
            return stack.enter_context(world_of(server, channels.on(place, kind), folder))

        self.kept, self.plain = made(0, "kept"), made(0, "plain")
        self.elsewhere = (made(1, "kept"), made(1, "plain"))

    def assert_nothing_noticed_elsewhere(self) -> None:
        for world in self.elsewhere:
            world.assert_nothing_missed()
            assert not any(listener.gaps for listener in world.listeners)
        for world in (self.kept, self.plain, *self.elsewhere):
            world.assert_nobody_was_disconnected()

    def wait_for_ready(self, expected: dict[str, object]) -> None:
        """Wait until /ready says so, with the status 200 all the time."""

        def is_so() -> bool:
            status, body = self.server.get("/ready")
            assert status == 200, body
            return bool(json.loads(body) == expected)

        self.server.wait_until(is_so)


@pytest.fixture
def worlds(server: Supervised, channels: Channels, folder: Path) -> Iterator[Worlds]:
    with ExitStack() as stack:
        yield Worlds(server, channels, folder, stack)


def test_one_server_that_is_away_and_comes_back(worlds: Worlds, servers: list[RedisServer]) -> None:
    hurt = servers[0]
    with hurt.client() as client:
        client.save()
    kept_elsewhere, plain_elsewhere = worlds.elsewhere
    with kept_elsewhere.publishing(), plain_elsewhere.publishing():
        hurt.kill()
        # The states of both workers are joined, the request for /ready is answered by one of them.
        worlds.server.wait_until(lambda: worlds.server.metric("fastws_broker_nodes", state="down") == 1)
        worlds.server.wait_until(lambda: worlds.server.metric("fastws_broker_node_up", node=hurt.tcp_url) == 0)
        assert worlds.server.metric("fastws_broker_node_up", node=servers[1].tcp_url) == 1
        worlds.wait_for_ready({"status": "ready", "redis_away": [hurt.tcp_url]})
        with Broadcaster(f"http://127.0.0.1:{worlds.server.port}", BROADCAST_KEY, retry_seconds=0) as impatient:
            for world in (worlds.kept, worlds.plain):
                with pytest.raises(BrokerUnavailable):
                    impatient.publish(world.channel, "e", {"n": 0})
        kept_elsewhere.publish_some()
        plain_elsewhere.publish_some()
        hurt.start()
        worlds.server.wait_until(lambda: worlds.server.metric("fastws_broker_nodes", state="up") == 2)
    for used in servers[:2]:
        name = used.tcp_url
        worlds.server.wait_until(
            lambda name=name: worlds.server.metric("fastws_broker_node_lag_seconds", node=name) > 0
        )
    worlds.kept.assert_nothing_missed()
    worlds.plain.assert_one_gap()
    worlds.assert_nothing_noticed_elsewhere()
    worlds.wait_for_ready({"status": "ready"})


def test_a_server_that_comes_back_empty(worlds: Worlds, servers: list[RedisServer]) -> None:
    position = worlds.kept.position()
    worlds.kept.hear_all()
    (servers[0].directory / "dump.rdb").unlink(missing_ok=True)
    servers[0].restart_empty()
    worlds.kept.assert_gap_told()
    worlds.kept.assert_old_position_is_told(position)
    worlds.plain.assert_one_gap()
    worlds.assert_nothing_noticed_elsewhere()


def test_connections_that_one_server_cuts(worlds: Worlds, servers: list[RedisServer]) -> None:
    with worlds.kept.publishing():
        for _ in range(5):
            servers[0].kill_clients("pubsub")
            servers[0].kill_clients("normal")
            worlds.kept.publish_some(1)
    worlds.kept.assert_nothing_missed()
    worlds.plain.assert_all_told()
    worlds.assert_nothing_noticed_elsewhere()


def test_a_server_that_is_added_moves_its_share_alone(
    server: Supervised, servers: list[RedisServer], channels: Channels
) -> None:
    """Clients come back with their positions to a process with the longer list. The lists differ, which is logged."""
    longer = Channels(servers)
    moves = longer.on(2, "kept")
    stays = next(name for name in iter(lambda: channels.on(0, "kept"), None) if longer.place_of(name) == 0)
    with (
        Supervised(list_of(servers), *FLAGS, workers=1) as later,
        Broadcaster(f"http://127.0.0.1:{server.port}", BROADCAST_KEY) as before,
        Broadcaster(f"http://127.0.0.1:{later.port}", BROADCAST_KEY) as after,
    ):
        for channel, expected in ((stays, [2, 3]), (moves, [None, 3])):
            early = AsyncListener(server.port, channel)
            before.publish(channel, "e", {"n": 1})
            early.wait_for(1)
            early.close()
            before.publish(channel, "e", {"n": 2})
            late = AsyncListener(later.port, channel, early.positions)
            after.publish(channel, "e", {"n": 3})
            late.wait_for(3)
            late.close()
            assert late.numbers == expected
        later.wait_until(lambda: any(one.log_lines("redis_url differs between processes") for one in (server, later)))
