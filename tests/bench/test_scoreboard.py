"""Counters that several processes share."""

from __future__ import annotations

from pathlib import Path

from fastws.bench.scoreboard import DELIVERIES, PUBLISHED, READY, Scoreboard


def test_each_process_sets_its_row_and_all_see_the_totals() -> None:
    own = Scoreboard.create(3)
    other = Scoreboard(own.path, 3)
    own.set(0, READY, 5)
    other.set(2, READY, 7)
    other.set(2, DELIVERIES, 2**63)
    assert own.total(READY) == other.total(READY) == 12
    assert own.total(DELIVERIES) == 2**63
    assert own.total(PUBLISHED) == 0
    assert other.total_of_others(2, READY) == 5
    own.set(0, READY, 6)
    assert other.total(READY) == 13
    other.close()
    own.remove()
    assert not Path(own.path).exists()
