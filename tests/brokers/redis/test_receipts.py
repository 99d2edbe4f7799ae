"""Receipts under way: each hears once, from the echo where there is one, else from Redis's answer."""

from __future__ import annotations

import pytest

from fastws.brokers.redis.receipts import ECHO_SECONDS, RedisReceipts
from fastws.counters import Counters
from fastws.errors import BrokerUnavailable, FastWSError, OutcomeUnknown


class Heard:
    def __init__(self) -> None:
        self.outcomes: list[object] = []

    def done(self, sent: int, failed: int) -> None:
        self.outcomes.append((sent, failed))

    def refused(self, error: FastWSError) -> None:
        self.outcomes.append(type(error))


@pytest.fixture
def receipts() -> RedisReceipts:
    return RedisReceipts(count=lambda channel: 3, remote_count=lambda channel: 10, counters=Counters())


@pytest.mark.parametrize("answer_first", [True, False])
def test_echo_settles_with_the_hubs_figures_and_the_others(receipts: RedisReceipts, *, answer_first: bool) -> None:
    heard = Heard()
    receipts.expect(1, heard, "c", awaits_echo=True)
    if answer_first:
        receipts.answered(1, now=0.0)
    assert heard.outcomes == []
    receipt = receipts.echoed(1)
    assert receipt is not None
    receipt.done(2, 1)
    receipts.answered(1, now=0.0)
    assert heard.outcomes == [(12, 1)]
    assert len(receipts) == 0


def test_answer_settles_where_nothing_comes_back() -> None:
    receipts = RedisReceipts(count=lambda channel: 0, remote_count=lambda channel: 10, counters=Counters())
    heard = Heard()
    receipts.expect(1, heard, "c", awaits_echo=False)
    receipts.answered(1, now=0.0)
    assert heard.outcomes == [(10, 0)]


def is_any(channel: str) -> bool:
    return True


def test_echo_that_the_listener_lost_counts_the_local_subscribers_as_failed(receipts: RedisReceipts) -> None:
    early, late = Heard(), Heard()
    receipts.expect(1, early, "c", awaits_echo=True)
    receipts.expect(2, late, "c", awaits_echo=True)
    receipts.answered(1, now=0.0)
    receipts.listener_lost(is_any)
    assert (early.outcomes, late.outcomes) == ([(10, 3)], [])
    receipts.answered(2, now=0.0)
    assert late.outcomes == [(10, 3)]


def test_listener_lost_twice_before_the_answer_has_missed_it_all_the_same(receipts: RedisReceipts) -> None:
    heard = Heard()
    receipts.expect(1, heard, "c", awaits_echo=True)
    receipts.listener_lost(is_any)
    receipts.listener_lost(is_any)
    receipts.answered(1, now=0.0)
    assert heard.outcomes == [(10, 3)]


def test_what_is_published_while_the_listener_is_away_has_failed_for_the_local_subscribers() -> None:
    counts = [3]
    receipts = RedisReceipts(count=lambda channel: counts[0], remote_count=lambda channel: 10, counters=Counters())
    missed, subscribed_later = Heard(), Heard()
    receipts.expect(1, missed, "c", awaits_echo=False)
    receipts.listener_lost(is_any)
    receipts.answered(1, now=0.0)
    counts[0] = 0
    receipts.expect(2, subscribed_later, "c", awaits_echo=False)
    counts[0] = 1
    receipts.answered(2, now=0.0)
    assert (missed.outcomes, subscribed_later.outcomes) == ([(10, 3)], [(10, 0)])


def test_echo_that_never_comes_is_not_waited_for(receipts: RedisReceipts) -> None:
    first, second, unanswered = Heard(), Heard(), Heard()
    for number, receipt in enumerate((first, second, unanswered)):
        receipts.expect(number, receipt, "c", awaits_echo=True)
    receipts.answered(0, now=0.0)
    receipts.answered(1, now=0.5)
    receipts.sweep(ECHO_SECONDS)
    assert (first.outcomes, second.outcomes, unanswered.outcomes) == ([(10, 3)], [], [])


def test_refusal_after_the_echo_is_not_heard(receipts: RedisReceipts) -> None:
    heard = Heard()
    receipts.expect(1, heard, "c", awaits_echo=True)
    receipt = receipts.echoed(1)
    assert receipt is not None
    receipts.refused(1, BrokerUnavailable("too late"))
    receipt.done(1, 0)
    assert heard.outcomes == [(11, 0)]


def test_everybody_hears_of_the_end(receipts: RedisReceipts) -> None:
    heard = [Heard(), Heard()]
    for number, receipt in enumerate(heard):
        receipts.expect(number, receipt, "c", awaits_echo=bool(number))
    receipts.refuse_all()
    assert [receipt.outcomes for receipt in heard] == [[OutcomeUnknown]] * 2
    assert receipts.echoed(0) is None
