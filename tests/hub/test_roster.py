"""The roster of connected clients."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.hub.roster import Roster
from fastws.vocabulary.identity import Identity


class Client:
    """What the roster looks at in a client."""

    def __init__(self, name: str, user: str | None = None, token: str | None = None, kind: str = "rooms") -> None:
        self.id = name
        self.identity = None if user is None else Identity(user, token_id=token)
        self.dialect_name, self.codec_name = kind, "json"
        self.client_id: str | None = None
        self.realm: str | None = None


def client(name: str, user: str | None = None, token: str | None = None, kind: str = "rooms") -> Any:
    return Client(name, user, token, kind)


def test_clients_are_found_by_id_and_listed_in_the_order_they_came() -> None:
    roster = Roster()
    first, second = client("b"), client("a")
    roster.add(first)
    roster.add(second)
    assert list(roster) == [first, second]
    assert roster.get("a") is second
    assert roster.get("c") is None
    roster.remove(first)
    roster.remove(first)
    assert len(roster) == 1


def test_clients_are_counted_by_kind_and_found_by_user_and_token() -> None:
    roster = Roster()
    clients = [client("a", "ann", "t1"), client("b", "ann"), client("c", kind="jobs"), client("d", "bob", "t1", "jobs")]
    for each in clients:
        roster.add(each)
        roster.blocked.add(each)
    a, b, c, d = clients
    assert roster.kinds == {("rooms", "json"): 2, ("jobs", "json"): 2}
    assert roster.dialects() == {"rooms": 2, "jobs": 2}
    assert roster.by_user.of("ann") == [a, b]
    assert roster.by_token.of("t1") == [a, d]
    for gone in (a, c, a):
        roster.remove(gone)
    assert roster.kinds == {("rooms", "json"): 1, ("jobs", "json"): 1}
    assert (roster.by_user.of("ann"), roster.by_token.of("t1"), roster.blocked) == ([b], [d], {b, d})
    for gone in (b, d):
        roster.remove(gone)
    assert (roster.kinds, roster.by_user.keys(), roster.by_token.keys(), roster.blocked) == ({}, [], [], set())


@pytest.mark.parametrize(("former", "now"), [("t1", "t2"), ("t1", None), (None, "t2"), ("t1", "t1")])
def test_a_client_with_a_new_token_is_found_by_that_one(former: str | None, now: str | None) -> None:
    roster = Roster()
    each = client("a", "ann", former)
    roster.add(each)
    before, each.identity = each.identity, Identity("ann", token_id=now)
    roster.refreshed("a", before)
    assert roster.by_token.keys() == ([now] if now else [])
    roster.remove(each)
    roster.refreshed("a", before)
    assert roster.by_token.keys() == []


def test_clients_with_an_id_are_found_by_it() -> None:
    roster = Roster()
    clients = [client("a"), client("b", "ann"), client("c")]
    for each in clients:
        roster.add(each)
    for each in clients[:2]:
        each.client_id = "phone"
        roster.give_client_id(each.id, "phone")
    roster.give_client_id("nobody", "phone")
    assert roster.by_client_id.of("phone") == clients[:2]
    for each in clients:
        roster.remove(each)
    assert roster.by_client_id.keys() == []
