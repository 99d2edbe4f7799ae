"""The ledger: what counts as lost, repeated or out of order, and how a connection may end."""

from __future__ import annotations

import re
import time

import pytest
from soaking.ledger import DeliveryCheck, Ledger


@pytest.fixture
def ledger() -> Ledger:
    """One publisher on channel c, of which 5 messages were sent and acknowledged."""
    ledger = Ledger()
    ledger.enter("p", "c")
    _go_on(ledger, 5)
    return ledger


def _check(ledger: Ledger) -> DeliveryCheck:
    return DeliveryCheck(ledger, "l", "c")


def _go_on(ledger: Ledger, last: int) -> None:
    ledger.sent["p"] = ledger.acknowledged["p"] = last


def test_messages_in_order_are_right(ledger: Ledger) -> None:
    check = _check(ledger)
    _go_on(ledger, 8)
    for number in (6, 7, 8):
        check.received("p", number)
    check.expect_all()
    ledger.evaluate()
    assert not ledger.faults


def test_messages_sent_before_the_confirmation_may_arrive(ledger: Ledger) -> None:
    check = _check(ledger)
    _go_on(ledger, 6)
    for number in (4, 5, 6):
        check.received("p", number)
    check.expect_all()
    ledger.evaluate()
    assert not ledger.faults


@pytest.mark.parametrize("heard", [(7, 8), (6, 8), (6, 7)], ids=["first", "middle", "last"])
def test_missing_number_is_lost(ledger: Ledger, heard: tuple[int, ...]) -> None:
    check = _check(ledger)
    _go_on(ledger, 8)
    for number in heard:
        check.received("p", number)
    check.expect_all()
    ledger.evaluate()
    assert dict(ledger.faults) == {"lost": 1}


def test_number_without_an_answer_may_be_missing(ledger: Ledger) -> None:
    check = _check(ledger)
    _go_on(ledger, 8)
    ledger.uncertain.add(("p", 7))
    for number in (6, 8):
        check.received("p", number)
    ledger.evaluate()
    assert not ledger.faults


@pytest.mark.parametrize("heard", [(6, 6), (6, 7, 6)], ids=["twice", "late"])
def test_number_that_arrives_again_is_a_fault(ledger: Ledger, heard: tuple[int, ...]) -> None:
    check = _check(ledger)
    for number in heard:
        check.received("p", number)
    ledger.evaluate()
    assert dict(ledger.faults) == {"repeated or out of order": 1}


def test_late_number_that_was_not_acknowledged_is_right(ledger: Ledger) -> None:
    check = _check(ledger)
    ledger.uncertain.add(("p", 6))
    for number in (7, 6):
        check.received("p", number)
    ledger.evaluate()
    assert not ledger.faults


def test_notice_excuses_what_is_missing_up_to_the_next_message_only(ledger: Ledger) -> None:
    check = _check(ledger)
    _go_on(ledger, 12)
    check.gap_reported()
    for number in (9, 10, 12):
        check.received("p", number)
    check.expect_all()
    ledger.evaluate()
    assert dict(ledger.faults) == {"lost": 1}


def test_notice_after_newer_messages_is_counted(ledger: Ledger) -> None:
    check = _check(ledger)
    _go_on(ledger, 8)
    for number in (6, 8):
        check.received("p", number)
    check.gap_reported()
    ledger.evaluate()
    assert not ledger.faults
    assert ledger.counts["reported after newer messages"] == 1


def test_only_what_was_acknowledged_by_a_given_time_must_have_arrived(ledger: Ledger) -> None:
    check = _check(ledger)
    _go_on(ledger, 7)
    acknowledged = dict(ledger.acknowledged)
    _go_on(ledger, 9)
    check.received("p", 6)
    check.expect_all(acknowledged)
    ledger.evaluate()
    assert [example.partition(" never ")[2] for example in ledger.examples] == ["received p #7"]


def test_missing_message_is_reported_with_the_times_of_sending_and_of_the_latest_events(ledger: Ledger) -> None:
    check = _check(ledger)
    ledger.acknowledged["p"] = ledger.next_number("p")
    check.expect_all()
    ledger.evaluate()
    time_ = r"\d+\.\d{3}"
    words = rf"lost: l \(subscribed {time_}\), checked {time_} never received p #6, sent at {time_}"
    assert re.fullmatch(words, ledger.examples[0])


def test_check_has_all_once_it_has_arrived_or_a_notice_has(ledger: Ledger) -> None:
    check = _check(ledger)
    _go_on(ledger, 7)
    check.received("p", 6)
    assert not check.has_all(ledger.acknowledged)
    check.received("p", 7)
    assert check.has_all(ledger.acknowledged)
    _go_on(ledger, 8)
    assert not check.has_all(ledger.acknowledged)
    check.gap_reported()
    assert check.has_all(ledger.acknowledged)


def test_check_knows_how_far_it_is_behind(ledger: Ledger) -> None:
    check = _check(ledger)
    assert check.behind() == 0
    _go_on(ledger, 8)
    assert check.behind() == 3
    check.received("p", 6)
    assert check.behind() == 2
    check.gap_reported()
    assert check.behind() == 0


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
    ledger.evaluate()
    assert dict(ledger.faults) == {"connection lost without a close frame": 1}
    ledger.killed_at = time.monotonic()
    ledger.lost("l", close_code)
    ledger.evaluate()
    assert ledger.faults["connection lost without a close frame"] == 1
    assert ledger.counts["lost with a killed worker"] == 1


def test_end_without_a_close_frame_is_right_for_the_connections_that_the_server_has_logged(ledger: Ledger) -> None:
    for connection_id in ("a", "b", ""):
        ledger.lost("l", None, connection_id)
    ledger.evaluate({"a", "c"})
    assert ledger.counts["logged by the server: close frame not delivered"] == 1
    assert ledger.faults["connection lost without a close frame"] == 2
