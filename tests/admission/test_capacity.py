"""How many come in: of the process, a user, an address, and by the file limit."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from fastws.admission.capacity import Capacity, free_descriptors
from fastws.config import Config
from fastws.counters import Counters
from fastws.errors import RateLimited, Unavailable


def capacity(*, descriptors: int = 1000, **settings: Any) -> Capacity:
    return Capacity(Config(**settings), Counters(), descriptors=descriptors)


class Client:
    """A connection that keeps by how many seconds it had to answer."""

    def __init__(self) -> None:
        self.probes: list[float] = []

    def probe(self, seconds: float) -> None:
        self.probes.append(seconds)


def enter(room: Capacity, count: int, user: str | None = None, address: str = "192.0.2.1") -> list[Client]:
    clients = [Client() for _ in range(count)]
    for client in clients:
        room.check()
        room.check_shares(user, address)
        room.enter(client, user, address)
    return clients


def test_without_a_setting_the_file_limit_bounds_connections_and_keeps_some_back() -> None:
    room = capacity(descriptors=1000)
    enter(room, 1000 - 32 - 64)
    with pytest.raises(Unavailable, match="full") as refusal:
        room.check()
    assert refusal.value.retry_after_seconds > 0
    assert not room.is_exhausted
    room.sockets = 64
    assert not room.is_exhausted
    room.sockets = 65
    assert room.is_exhausted


def test_a_small_file_limit_is_shared_in_parts() -> None:
    room = capacity(descriptors=48)
    assert (room.max_connections, room.max_sockets) == (48 - 12, 48 - 6)
    assert capacity(descriptors=-5).max_connections == 1


def test_the_setting_counts_where_it_is_lower() -> None:
    assert capacity(max_connections=7).max_connections == 7
    assert capacity(max_connections=10_000).max_connections == 904


def test_who_leaves_makes_room() -> None:
    room = capacity(max_connections=1)
    [client] = enter(room, 1)
    with pytest.raises(Unavailable):
        enter(room, 1)
    room.leave(client, None, "192.0.2.1")
    enter(room, 1)


def test_a_user_and_an_address_have_their_shares() -> None:
    room = capacity(max_connections_per_user=2, max_connections_per_ip=3)
    first, _ = enter(room, 2, "ann")
    with pytest.raises(RateLimited, match="user"):
        enter(room, 1, "ann", "192.0.2.2")
    enter(room, 1, "bob")
    with pytest.raises(RateLimited, match="address"):
        enter(room, 1, "cid")
    room.leave(first, "ann", "192.0.2.1")
    enter(room, 1, "ann")


def test_an_ipv6_network_of_64_bits_is_one_address() -> None:
    room = capacity(max_connections_per_ip=2)
    enter(room, 1, address="2001:db8::1")
    enter(room, 1, address="2001:db8::2")
    with pytest.raises(RateLimited):
        enter(room, 1, address="2001:db8::ffff:3")
    enter(room, 1, address="2001:db8:0:1::1")


def test_whom_a_share_refuses_is_not_remembered() -> None:
    room = capacity(max_connections_per_ip=1, max_connections_per_user=1)
    for number in range(100):
        room.check_shares(f"user {number}", f"192.0.2.{number}")
    assert room._by_address._connections.keys() == []
    assert room._by_user._connections.keys() == []


def test_connects_over_the_rate_are_told_to_come_back() -> None:
    room = capacity(connect_rate=1.0)
    room.check()
    with pytest.raises(Unavailable, match="second") as refusal:
        room.check()
    assert refusal.value.reason == "connect_rate"


def test_free_descriptors_are_those_of_the_soft_limit_not_yet_open() -> None:
    before = free_descriptors()
    assert 0 < before < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with open("/dev/null"):
        assert free_descriptors() == before - 1


def test_where_open_descriptors_cannot_be_counted_some_are_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.admission.capacity.DESCRIPTOR_FOLDER", "/nowhere")
    assert free_descriptors() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 32


class Resting:
    """A connection between two requests."""

    def __init__(self, room: Capacity, address: str) -> None:
        self.room = room
        self.key = room.take_share(address) if room.limits_addresses else ""
        self.has_left = False
        room.sockets += 1
        room.add_idle(self, self.key)

    def evict(self) -> None:
        self.has_left = True
        self.room.sockets -= 1
        if self.key:
            self.room.give_back(self.key)


def test_sockets_have_as_much_room_beyond_the_setting_as_beyond_the_file_limit() -> None:
    assert capacity(max_connections=7).max_sockets == 7 + 64
    assert capacity(descriptors=48, max_connections=7).max_sockets == 7 + 6
    room = capacity(max_connections=7)
    enter(room, 7)
    room.sockets = 64
    room.check_socket()
    room.sockets = 65
    with pytest.raises(Unavailable, match="full"):
        room.check_socket()


def test_who_has_been_idle_longest_gives_way_where_sockets_run_short() -> None:
    room = capacity(max_connections=1)
    idle = [Resting(room, "192.0.2.1") for _ in range(65)]
    room.remove_idle(idle[0])
    room.sockets += 1
    room.check_socket()
    assert [number for number, one in enumerate(idle) if one.has_left] == [1]
    assert room.sockets == room.max_sockets


def test_an_address_has_its_share_of_sockets_beside_its_clients_and_its_own_idle_ones_give_way() -> None:
    room = capacity(max_connections_per_ip=2)
    enter(room, 2)
    other, idle = Resting(room, "192.0.2.9"), Resting(room, "192.0.2.1")
    key = room.take_share("192.0.2.1")
    assert room.take_share("192.0.2.1") == key
    assert (idle.has_left, other.has_left) == (True, False)
    with pytest.raises(RateLimited, match="address"):
        room.take_share("192.0.2.1")
    room.give_back(key)
    room.take_share("192.0.2.1")


def test_of_who_is_gone_nothing_is_left() -> None:
    room = capacity(max_connections_per_ip=3)
    idle = [Resting(room, f"192.0.2.{number % 3}") for number in range(9)]
    room.remove_idle(idle[0])
    room.remove_idle(idle[0])
    idle[0].evict()
    room.close_idle()
    assert all(one.has_left for one in idle)
    assert (room._idle, room._idle_of, room._sockets_of, room.sockets) == ({}, {}, {}, 0)
