"""Who is connected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastws.hub.roster import Roster


def client(name: str) -> Any:
    return SimpleNamespace(id=name)


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
