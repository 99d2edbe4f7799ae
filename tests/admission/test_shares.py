"""A full share probes its connections, the oldest first, and one after the other."""

from __future__ import annotations

from fastws.admission.shares import Shares
from tests.admission.test_capacity import Client


def test_each_refusal_probes_the_connection_that_was_probed_longest_ago() -> None:
    shares = Shares(3)
    clients, other = [Client() for _ in range(3)], Client()
    shares.add("bob", other)
    for client in clients:
        assert not shares.refuses("ann")
        shares.add("ann", client)
    assert all(client.probes == [] for client in clients)
    for number in range(5):
        assert shares.refuses("ann")
        assert [len(client.probes) for client in clients] == [(number + 3 - place) // 3 for place in range(3)]
    assert (clients[0].probes, other.probes) == ([5.0, 5.0], [])
    shares.remove("ann", clients[0])
    assert not shares.refuses("ann")


def test_one_connection_is_a_share_too() -> None:
    shares = Shares(1)
    client = Client()
    shares.add("ann", client)
    assert shares.refuses("ann")
    assert client.probes == [5.0]
    shares.remove("ann", client)
    assert not shares.refuses("ann")


def test_without_a_limit_nothing_is_kept() -> None:
    shares = Shares(0)
    for _ in range(3):
        shares.add("ann", Client())
        assert not shares.refuses("ann")
    assert shares._connections.keys() == []
    shares.remove("ann", Client())
