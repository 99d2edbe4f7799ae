"""Reading a history from Redis: an answer that is older than the latest doubt settles nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastws.brokers.envelope import encode_rest
from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.history import RedisHistory
from fastws.brokers.redis.history_scripts import CLEAR, READ, HistoryKeys, Script
from fastws.brokers.redis.tail import HistoryLimits
from fastws.brokers.redis.tail_reader import HOLD_SECONDS
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.counters import Counters
from fastws.vocabulary.positions import Past, Position, Recovery
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import GAP, RecordingHub
from tests.brokers.redis.history_cluster import Client, Cluster

EPOCH = "Zr2"


def _payload(offset: int, *, epoch: str = EPOCH, node: str = "another") -> bytes:
    rest = encode_rest(Publication("c", "e", offset), node, offset)
    return _head(offset, epoch) + rest


def _head(offset: int, epoch: str) -> bytes:
    return b"\xc1\x02" + offset.to_bytes(8, "big") + bytes((len(epoch),)) + epoch.encode()


def _page(*offsets: int, epoch: str = EPOCH, node: str = "another") -> list[Any]:
    """What the script returns, read up to the last of `offsets`."""
    entries = [[b"%d-0" % offset, [b"p", _payload(offset, epoch=epoch, node=node)]] for offset in offsets]
    return [max(offsets, default=0), epoch.encode(), 60_000, entries, None, None]


class Reading:
    """A history whose reads of Redis the test answers: `reads` are the callbacks of those without an answer."""

    def __init__(self) -> None:
        self.hub = RecordingHub()
        self.hub.subscribers["c"] = 1
        self.reads: list[Callable[[object], None]] = []
        self.scripts: list[Script] = []
        commander = RedisCommander("test", lambda: None, lambda reason: None)
        self.history = RedisHistory(
            self.hub,  # type: ignore[arg-type]
            commander,
            HistoryKeys(b""),
            HistoryRules([("c", HistoryRule(100, 60.0))]),
            Counters(),
            lambda channel: True,
            lambda node, number: None,
            is_feed=lambda channel: False,
            node="node_a",
            limits=HistoryLimits(100, 1_000_000),
            clock=lambda: 0.0,
        )
        self.history.publisher.run = "run"
        self.history.publisher.evaluate = self._evaluate  # type: ignore[method-assign]

    def _evaluate(
        self, script: Script, channel: str, words: tuple[Any, ...], answered: Callable[[object], None]
    ) -> None:
        self.scripts.append(script)
        self.reads.append(answered)

    def ask(self, past: Past) -> list[Any]:
        """Subscribe another client. Returns the list that gets its answer."""
        answers: list[Any] = []
        self.history.recover("c", past, answers.append, lambda position: None)
        return answers

    def answer(self, reply: object) -> None:
        self.reads.pop(0)(reply)

    @property
    def heard(self) -> list[Any]:
        return self.hub.heard["c"]


@pytest.fixture
def reading() -> Reading:
    """A member of c that has heard 1."""
    reading = Reading()
    answers: list[Any] = []
    reading.history.recover("c", None, answers.append, lambda position: None)
    reading.answer(_page())
    assert answers == [Recovery(Position(0, EPOCH), None)]
    reading.history.receive("c", _payload(1))
    assert reading.heard == [1]
    return reading


def test_what_was_published_during_a_loss_is_read(reading: Reading) -> None:
    reading.history.lost()
    reading.history.confirmed("c")
    reading.answer(_page(1, 2))
    assert reading.heard == [1, 2]


def test_answer_from_before_the_latest_loss_is_not_enough(reading: Reading) -> None:
    for _ in range(2):  # 2 is published after Redis has read for the first loss, and before the second has ended
        reading.history.lost()
        reading.history.confirmed("c")
    reading.answer(_page(1))
    reading.answer(_page(1, 2))
    assert reading.heard == [1, 2]
    assert not reading.reads


def test_client_is_answered_after_the_second_read(reading: Reading) -> None:
    reading.history.lost()
    answers: list[Any] = []
    reading.history.confirmed("c")
    reading.history.recover("c", Position(1, EPOCH), answers.append, lambda position: None)
    reading.history.lost()
    reading.history.confirmed("c")
    reading.answer(_page(1))
    assert not answers
    reading.answer(_page(1, 2))
    assert [answer.position for answer in answers] == [Position(2, EPOCH)]
    assert reading.heard == [1, 2]


def test_answer_from_before_a_loss_does_not_repeat_what_was_heard_since(reading: Reading) -> None:
    reading.history.lost()
    reading.history.confirmed("c")
    reading.history.receive("c", _payload(2))
    reading.history.sweep(HOLD_SECONDS)
    reading.history.lost()
    reading.answer(_page(1))
    reading.answer(_page(2))
    assert reading.heard == [1, 2]


@pytest.mark.parametrize("arriving", [[2], [2, 3]], ids=["known", "known-and-new"])
def test_what_was_read_already_is_not_delivered_again_when_holding_back_ends(
    reading: Reading, arriving: list[int]
) -> None:
    reading.history.lost()
    reading.history.confirmed("c")
    reading.answer(_page(1, 2))
    reading.history._run_known()
    for offset in arriving:
        reading.history.receive("c", _payload(offset))
    reading.history.sweep(HOLD_SECONDS)
    assert reading.heard == [1, *arriving]
    reading.answer(_page(2, 3))
    assert reading.heard == [1, 2, 3]


def test_another_publication_at_the_same_position_begins_a_new_epoch(reading: Reading) -> None:
    """Redis has come back with an older state, and numbered again."""
    reading.history.receive("c", _payload(1, node="a third"))
    assert reading.scripts[-1] is CLEAR
    reading.answer([0, b"next"])
    assert reading.scripts[-1] is READ
    reading.answer(_page(epoch="next"))
    assert reading.heard == [1, GAP]


def test_another_publication_at_the_same_position_is_noticed_by_reading_too(reading: Reading) -> None:
    reading.history.lost()
    reading.history.confirmed("c")
    reading.answer(_page(1, 2, node="a third"))
    assert reading.scripts[-1] is CLEAR
    reading.answer([0, b"next"])
    reading.answer(_page(epoch="next"))
    assert reading.heard == [1, GAP]


def test_what_comes_late_of_an_epoch_that_has_ended_is_not_delivered(reading: Reading) -> None:
    reading.history.receive("c", _head(0, "next") + b"g")
    reading.answer(_page(epoch="next"))
    reading.history.receive("c", _payload(2))
    assert reading.heard == [1, GAP]
    assert not reading.reads


def test_an_answer_of_an_epoch_that_has_ended_meanwhile_is_not_enough(reading: Reading) -> None:
    reading.history.lost()
    reading.history.confirmed("c")
    reading.history.receive("c", _payload(1, epoch="next"))
    reading.answer(_page(1, 2))
    assert reading.heard == [1]
    reading.answer(_page(1, epoch="next"))
    assert reading.heard == [1, GAP, 1]


def test_an_answer_after_holding_back_has_ended_is_not_enough(reading: Reading) -> None:
    reading.history.lost()
    reading.history.confirmed("c")
    reading.history.receive("c", _payload(3))
    reading.history.sweep(HOLD_SECONDS)
    assert reading.heard == [1, GAP, 3]
    reading.answer(_page(1, 2))
    assert len(reading.reads) == 1


def test_a_client_that_asks_after_the_read_was_sent_waits_for_the_next(reading: Reading) -> None:
    early, late = reading.ask(Position(5, EPOCH)), reading.ask(Position(7, EPOCH))
    reading.answer(_page(1))
    assert [answer.outcome for answer in early] == ["never_was"]
    assert not late
    reading.answer(_page(*range(1, 8)))
    assert [answer.outcome for answer in late] == ["recovered"]


def test_a_client_waits_for_what_is_on_its_way_and_no_longer_kept(reading: Reading) -> None:
    answers = reading.ask(Position(4, EPOCH))
    reading.answer(_page(5))
    for offset in range(2, 5):
        reading.history.receive("c", _payload(offset))
        assert not answers
    reading.history.receive("c", _payload(5))
    assert [(answer.outcome, answer.position.offset) for answer in answers] == [("recovered", 5)]


def test_a_hole_is_filled_before_anything_newer_is_delivered() -> None:
    cluster, client = _followed()
    publisher, follower = cluster.processes
    cluster.step(lambda: publisher.publish(2))
    cluster.step(publisher.execute)
    assert follower.messages is not None
    follower.messages.replies.clear()  # the message is lost, and the connection goes on
    cluster.step(lambda: publisher.publish(3))
    cluster.settle()
    assert cluster.faults == []
    assert client.position == cluster.top
    assert client.gaps == []


def test_a_redis_that_comes_back_without_the_end_begins_a_new_epoch_and_subscribers_hear_of_it() -> None:
    cluster, client = _followed()
    before = cluster.top
    older = cluster.redis.saved()
    cluster.step(lambda: cluster.processes[0].publish(2))
    cluster.settle()
    for process in cluster.processes:
        cluster.step(lambda process=process: process.lose_commander(0))
        cluster.step(process.lose_listener)
    cluster.redis.restart(older)
    cluster.rest()
    assert cluster.faults == []
    assert before is not None
    assert cluster.top is not None
    assert cluster.top.epoch != before.epoch
    assert client.gaps == [cluster.top]


def test_a_process_that_has_heard_more_than_redis_found_says_so_even_if_nothing_is_kept_any_more() -> None:
    """Another one that has heard less was back before it, and as many were published as were lost."""
    cluster = Cluster(HistoryRule(100, 1.5))
    cluster.settle()
    clients: list[Client] = []
    for process in cluster.processes:
        cluster.step(lambda process=process: clients.append(process.join(None)))
    cluster.settle()
    one, two = cluster.processes
    cluster.step(lambda: one.publish(1))
    cluster.settle()
    before, older = cluster.top, cluster.redis.saved()
    cluster.step(two.lose_listener)
    cluster.step(lambda: one.publish(2))
    cluster.settle()
    cluster.step(one.lose_listener)
    for process in cluster.processes:
        cluster.step(lambda process=process: process.lose_commander(0))
    cluster.redis.restart(older)
    cluster.truth = {position: data for position, data in cluster.truth.items() if position == before}
    cluster.step(two.connect_commander)
    cluster.step(two.connect_listener)
    cluster.settle()
    cluster.step(lambda: two.publish(3))
    cluster.settle()
    cluster.advance(2.0)
    cluster.rest()
    assert before is not None
    assert cluster.top is not None
    assert cluster.top.epoch != before.epoch
    assert [client.gaps for client in clients] == [[cluster.top], [cluster.top]]
    assert cluster.faults == []


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_redis_that_comes_back_whole_is_not_noticed_even_if_nothing_is_kept_any_more(restarts: int) -> None:
    cluster, client = _followed()
    before = cluster.top
    for _ in range(restarts):
        cluster.advance(61.0)
        for process in cluster.processes:
            cluster.step(lambda process=process: process.lose_commander(0))
            cluster.step(process.lose_listener)
        cluster.redis.restart(cluster.redis.saved())
        cluster.rest()
    assert cluster.top == before
    assert client.gaps == []
    assert cluster.faults == []


def _followed() -> tuple[Cluster, Client]:
    """Two processes; the first has published, and the second has a client that has heard it."""
    cluster = Cluster(HistoryRule(100, 60.0))
    cluster.settle()
    found: list[Client] = []
    cluster.step(lambda: found.append(cluster.processes[1].join(None)))
    cluster.settle()
    cluster.step(lambda: cluster.processes[0].publish(1))
    cluster.settle()
    return cluster, found[0]
