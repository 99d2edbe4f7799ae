"""The ledger's judgement: what it calls lost, repeated or out of order, and how a connection may end."""

from __future__ import annotations

import time

import pytest
from soaking.ledger import Ear, Ledger


@pytest.fixture
def ledger() -> Ledger:
    """One publisher on channel c, of which 5 messages were sent and acknowledged."""
    ledger = Ledger()
    ledger.enter("p", "c")
    _go_on(ledger, 5)
    return ledger


def _ear(ledger: Ledger) -> Ear:
    return Ear(ledger, "l", "c")


def _go_on(ledger: Ledger, last: int) -> None:
    ledger.sent["p"] = ledger.acknowledged["p"] = last


def test_everything_in_order_is_no_fault(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    for number in (6, 7, 8):
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert not ledger.faults


def test_what_was_on_its_way_when_the_confirmation_came_may_be_heard(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 6)
    for number in (4, 5, 6):
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert not ledger.faults


@pytest.mark.parametrize("heard", [(7, 8), (6, 8), (6, 7)], ids=["first", "middle", "last"])
def test_missing_number_is_lost(ledger: Ledger, heard: tuple[int, ...]) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    for number in heard:
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert dict(ledger.faults) == {"lost": 1}


def test_number_without_an_answer_may_be_missing(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    ledger.uncertain.add(("p", 7))
    for number in (6, 8):
        ear.hear("p", number)
    ledger.judge()
    assert not ledger.faults


@pytest.mark.parametrize("heard", [(6, 6), (6, 7, 6)], ids=["twice", "late"])
def test_number_that_comes_again_is_a_fault(ledger: Ledger, heard: tuple[int, ...]) -> None:
    ear = _ear(ledger)
    for number in heard:
        ear.hear("p", number)
    ledger.judge()
    assert dict(ledger.faults) == {"repeated or out of order": 1}


def test_late_number_that_nobody_acknowledged_is_no_fault(ledger: Ledger) -> None:
    ear = _ear(ledger)
    ledger.uncertain.add(("p", 6))
    for number in (7, 6):
        ear.hear("p", number)
    ledger.judge()
    assert not ledger.faults


def test_notice_excuses_what_is_missing_up_to_the_next_message_only(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 12)
    ear.excuse()
    for number in (9, 10, 12):
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert dict(ledger.faults) == {"lost": 1}


def test_notice_that_comes_behind_newer_messages_is_counted_and_no_fault(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    for number in (6, 8):
        ear.hear("p", number)
    ear.excuse()
    ledger.judge()
    assert not ledger.faults
    assert ledger.counts["told of after newer messages"] == 1


def test_what_was_acknowledged_too_late_for_a_given_moment_need_not_be_heard_by_then(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 7)
    acknowledged = dict(ledger.acknowledged)
    _go_on(ledger, 9)
    ear.hear("p", 6)
    ear.finish(acknowledged)
    ledger.judge()
    assert ledger.examples == ["lost: l never heard p #7"]


def test_ear_says_how_far_it_is_behind(ledger: Ledger) -> None:
    ear = _ear(ledger)
    assert ear.behind() == 0
    _go_on(ledger, 8)
    assert ear.behind() == 3
    ear.hear("p", 6)
    assert ear.behind() == 2
    ear.excuse()
    assert ear.behind() == 0


@pytest.mark.parametrize("close_code", [1000, 1001, 1012, 1013])
def test_close_frame_ends_a_connection_in_good_order(ledger: Ledger, close_code: int) -> None:
    ledger.lost("l", close_code)
    assert not ledger.faults
    assert ledger.counts[f"closed with {close_code}"] == 1


@pytest.mark.parametrize("close_code", [None, 1006])
def test_end_without_a_close_frame_is_a_fault_unless_a_worker_was_killed(
    ledger: Ledger, close_code: int | None
) -> None:
    ledger.lost("l", close_code)
    assert dict(ledger.faults) == {"connection lost without a close frame": 1}
    ledger.killed_at = time.monotonic()
    ledger.lost("l", close_code)
    assert ledger.faults["connection lost without a close frame"] == 1
    assert ledger.counts["lost with a killed worker"] == 1
