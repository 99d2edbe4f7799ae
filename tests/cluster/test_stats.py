"""The statistics of one process: what has changed, in pieces, and nothing else."""

from __future__ import annotations

import pytest

from fastws.cluster.stats import LocalChanges, NodeStats
from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from tests.hub.members import LineForm, Listener, Wheel
from tests.hub.test_roster import client

FORM = LineForm("form")


class Process:
    def __init__(self) -> None:
        wheel = Wheel()
        self.hub = Hub(counters=Counters(), schedule=wheel.schedule, schedule_later=wheel.schedule_later)
        self.roster = Roster()
        self.reports = 0
        self.sent = NodeStats()
        self.changes = LocalChanges(self.hub, self.roster, self.report)

    def report(self) -> None:
        self.reports += 1

    def take(self, limit: int = 100) -> NodeStats:
        part = self.changes.take(self.sent, limit)
        for table in ("dialects", "users", "channels"):
            getattr(self.sent, table).update(getattr(part, table))
        return part


def test_changes_are_reported_once_and_taken_once() -> None:
    process = Process()
    listener = Listener("a")
    process.hub.subscribe(listener, "news", FORM)
    process.roster.add(client("x", "ann"))
    process.roster.add(client("y", None, kind="jobs"))
    process.hub.subscribe(listener, "sport", FORM)
    assert process.reports == 1
    assert process.take() == NodeStats({"rooms": 1, "jobs": 1}, {"ann": 1}, {"news": 1, "sport": 1})
    assert process.take() == NodeStats()
    process.hub.leave(listener)
    assert process.reports == 2
    assert process.take() == NodeStats(channels={"news": 0, "sport": 0})


def test_what_is_as_before_is_no_change() -> None:
    process = Process()
    listener = Listener("a")
    process.hub.subscribe(listener, "news", FORM)
    process.hub.unsubscribe(listener, "news")
    x = client("x", "ann")
    process.roster.add(x)
    process.roster.remove(x)
    assert process.reports == 1
    assert process.take() == NodeStats()


def test_what_was_there_before_is_a_change() -> None:
    process = Process()
    process.hub.subscribe(Listener("a"), "news", FORM)
    process.roster.add(client("x", "ann"))
    process.changes = LocalChanges(process.hub, process.roster, process.report)
    assert process.take() == NodeStats({"rooms": 1}, {"ann": 1}, {"news": 1})


@pytest.mark.parametrize("limit", [1, 3])
def test_many_changes_are_taken_in_pieces(limit: int) -> None:
    process = Process()
    for number in range(7):
        process.hub.subscribe(Listener(str(number)), f"c{number}", FORM)
    pieces = []
    while process.changes.channels:
        pieces.append(len(process.take(limit).channels))
    assert (max(pieces), sum(pieces)) == (limit, 7)
    assert process.sent.channels == {f"c{number}": 1 for number in range(7)}
