"""The backlog: no user and no address crowds out another, however many clients it has."""

from __future__ import annotations

import pytest

from fastws.callouts import backlog
from fastws.callouts.backlog import Backlog
from fastws.callouts.gateway_events import Caller
from fastws.wire.request import Request

REQUEST = Request("GET", "/", "1.1", {})


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_MESSAGES", 60)
    monkeypatch.setattr(backlog, "MAX_BYTES", 6_000)
    monkeypatch.setattr(backlog, "MAX_MESSAGES_OF_ONE", 5)


def callers(count: int, *, user: str | None = None, address: str = "192.0.2.1") -> list[Caller]:
    return [Caller("id", REQUEST, address=address, user=user, connected_at=0.0) for _ in range(count)]


def fill(queue: Backlog, clients: list[Caller], size: int = 1) -> int:
    """Let each client send until it is refused. Returns how many messages were taken."""
    taken = 0
    for client in clients:
        while queue.enter(client, size):
            taken += 1
    return taken


def test_one_client_has_a_bound_of_its_own() -> None:
    queue = Backlog()
    [client] = callers(1)
    assert fill(queue, [client]) == 5
    queue.leave(client, 1)
    assert fill(queue, [client]) == 1


@pytest.mark.parametrize("kind", ["user", "address"])
def test_many_clients_of_one_user_or_address_leave_room_for_others(kind: str) -> None:
    queue = Backlog()

    def crowd(number: int) -> list[Caller]:
        if kind == "address":
            return callers(40, address=f"192.0.2.{number}", user=None)
        return [c for n in range(40) for c in callers(1, user=f"u{number}", address=f"198.51.{number}.{n}")]

    assert fill(queue, crowd(1)) == 60
    assert fill(queue, crowd(2)) == 30
    assert fill(queue, crowd(3)) == 15
    [late] = callers(1, address="203.0.113.9", user="late")
    assert fill(queue, [late]) == 5


def test_bytes_are_divided_too_and_given_back() -> None:
    queue = Backlog()
    crowd, others = callers(40), callers(40, address="192.0.2.2")
    assert fill(queue, crowd, 1_000) == 6
    assert fill(queue, others, 1_000) == 3
    assert not queue.enter(others[30], 6_001)
    for client in crowd:
        while client.waiting:
            queue.leave(client, 1_000)
    assert fill(queue, others, 1_000) == 3
    assert not Backlog().enter(callers(1)[0], 6_001)


def test_an_ipv6_network_of_64_bits_is_one_address() -> None:
    queue = Backlog()
    taken = [fill(queue, callers(1, address=f"2001:db8::{number}")) for number in range(1, 40)]
    assert sum(taken) == 60


def test_nothing_is_kept_of_those_who_have_nothing_waiting() -> None:
    queue = Backlog()
    clients = callers(3, user="ann")
    fill(queue, clients)
    for client in clients:
        while client.waiting:
            queue.leave(client, 1)
    assert (queue._shares, queue._all.messages, queue._all.bytes) == ({}, 0, 0)
