"""Publishing on channels with a history: order, a new run of Redis, scripts that Redis has forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastws.brokers.envelope import encode_rest
from fastws.brokers.history import HistoryRule
from fastws.brokers.redis import numbered_publisher
from fastws.brokers.redis.history_scripts import PUBLISH, PUBLISH_ON_FEED, HistoryKeys
from fastws.brokers.redis.numbered_publisher import (
    MAX_TOGETHER,
    MAX_TOGETHER_BYTES,
    RELOAD_SECONDS,
    VOUCH_SECONDS,
    NumberedPublisher,
)
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication
from tests.brokers.redis.history_cluster import CHANNEL, Cluster, Process

RULE = HistoryRule(100, 60.0)


def publish(cluster: Cluster, *numbers: int) -> None:
    for number in numbers:
        cluster.step(lambda number=number: cluster.processes[0].publish(number))


def offsets(cluster: Cluster) -> list[int]:
    """The numbers that were published, in the order of their offsets in the last epoch."""
    top = cluster.top
    assert top is not None
    return [data["n"] for position, data in sorted(cluster.truth.items()) if position.epoch == top.epoch]


def test_the_first_in_a_run_goes_alone_and_the_others_follow_in_order() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    publish(cluster, 1, 2, 3)
    assert cluster.processes[0].commands is not None
    assert len(cluster.processes[0].commands.commands) == 1
    cluster.settle()
    publish(cluster, 4, 5)
    assert len(cluster.processes[0].commands.commands) == 2
    cluster.settle()
    assert offsets(cluster) == [1, 2, 3, 4, 5]


def test_a_numbering_that_nobody_vouches_for_ends_after_a_second_without_a_change_of_order() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    publish(cluster, 1)
    cluster.settle()
    before = cluster.top
    cluster.step(lambda: cluster.processes[0].lose_commander(0))
    cluster.redis.restart(cluster.redis.saved())
    cluster.connect()
    publish(cluster, 2, 3, 4)
    for _ in range(15):
        cluster.settle()
        cluster.advance(0.1)
    assert before is not None
    assert cluster.top is not None
    assert cluster.top.epoch != before.epoch
    assert offsets(cluster) == [2, 3, 4]
    assert [ticket.position for ticket in cluster.processes[0].tickets[1:]] == [
        Position(offset, cluster.top.epoch) for offset in (1, 2, 3)
    ]


def test_a_numbering_that_another_process_has_heard_goes_on() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    cluster.step(lambda: cluster.processes[1].join(None))
    cluster.settle()
    publish(cluster, 1)
    cluster.settle()
    before = cluster.top
    for process in cluster.processes:
        cluster.step(lambda process=process: process.lose_commander(0))
    cluster.redis.restart(cluster.redis.saved())
    cluster.connect()
    publish(cluster, 2)
    cluster.settle()
    cluster.advance(0.2)
    cluster.settle()
    assert before is not None
    assert cluster.top == Position(2, before.epoch)


@pytest.mark.parametrize("does_read", [False, True])
def test_a_process_that_has_heard_a_channel_may_come_back_half_a_second_later(does_read: bool) -> None:
    """Until then, whoever publishes or subscribes without having heard anything waits."""
    cluster = Cluster(RULE)
    cluster.settle()
    first, second = cluster.processes
    cluster.step(lambda: second.join(None))
    cluster.settle()
    publish(cluster, 1)
    cluster.settle()
    before = cluster.top
    for process in cluster.processes:
        cluster.step(lambda process=process: process.lose_commander(0))
    cluster.redis.restart(cluster.redis.saved())
    cluster.step(first.connect_commander)
    cluster.settle()
    cluster.step(lambda: first.join(None) if does_read else first.publish(2))
    for _ in range(5):
        cluster.settle()
        cluster.advance(0.1)
    cluster.step(second.connect_commander)
    for _ in range(3):
        cluster.settle()
        cluster.advance(0.1)
    assert before is not None
    assert cluster.top == Position(1 if does_read else 2, before.epoch)
    assert cluster.faults == []


def test_scripts_that_redis_has_forgotten_are_loaded_again_by_whatever_needs_them() -> None:
    cluster = Cluster(RULE)
    cluster.settle()
    cluster.advance(RELOAD_SECONDS)
    cluster.redis.scripts.clear()
    answers: list[object] = []
    cluster.step(lambda: cluster.processes[0].history.page("c", None, 10, is_reverse=False, answer=answers.append))
    cluster.settle()
    assert isinstance(answers[0], Exception)
    publish(cluster, 1)
    cluster.settle()
    assert cluster.processes[0].tickets[0].position is not None


def vouched() -> tuple[Cluster, Process]:
    """A process whose channel is known to belong to this run of Redis: one publication was numbered."""
    cluster = Cluster(RULE)
    cluster.settle()
    publish(cluster, 0)
    cluster.settle()
    return cluster, cluster.processes[0]


def together(cluster: Cluster, *actions: Callable[[], object]) -> list[tuple[bytes, int]]:
    """Do all in one loop iteration. Returns the commands: the script, or the verb, and the number of words."""
    process = cluster.processes[0]
    cluster.step(lambda: [action() for action in actions])
    assert process.commands is not None
    return [(words[1] if words[0] == b"EVALSHA" else words[0], len(words)) for words in process.commands.commands]


def publications(process: Process, *numbers: int) -> list[Callable[[], object]]:
    return [lambda number=number: process.publish(number) for number in numbers]  # type: ignore[misc]


def test_publications_of_one_loop_iteration_are_one_command() -> None:
    cluster, process = vouched()
    assert together(cluster, *publications(process, 1, 2, 3)) == [(PUBLISH.sha, 17)]
    cluster.settle()
    assert offsets(cluster) == [0, 1, 2, 3]
    positions = [ticket.position for ticket in process.tickets]
    assert cluster.top is not None
    assert positions == [Position(offset, cluster.top.epoch) for offset in (1, 2, 3, 4)]


def test_they_are_written_one_callback_later_and_not_one_loop_iteration() -> None:
    cluster, process = vouched()
    counts: list[int] = []
    [publish_one] = publications(process, 1)

    def count() -> None:
        assert process.commands is not None
        counts.append(len(process.commands.commands))

    cluster.step(lambda: [publish_one(), cluster.loop.call_soon(count)])
    assert counts == [1]


def test_a_command_has_at_most_so_many_publications() -> None:
    cluster, process = vouched()
    count = MAX_TOGETHER + 2
    sent = together(cluster, *publications(process, *range(1, count + 1)))
    assert sent == [(PUBLISH.sha, 14 + MAX_TOGETHER), (PUBLISH.sha, 14 + 2)]
    cluster.settle()
    assert offsets(cluster) == list(range(count + 1))


def test_large_publications_go_alone_and_in_order() -> None:
    cluster, process = vouched()
    large = Publication(CHANNEL, "e", {"n": 2, "text": "x" * MAX_TOGETHER_BYTES})
    first, last = publications(process, 1, 3)
    sent = together(cluster, first, lambda: process.broker.publish(large), last)
    assert sent == [(PUBLISH.sha, 15)] * 3
    cluster.settle()
    assert offsets(cluster) == [0, 1, 2, 3]


def test_publications_of_a_feed_go_alone_and_in_order() -> None:
    cluster, process = vouched()
    on_feed = (b"feed", b"{}")
    publisher = process.history.publisher
    first, last = publications(process, 1, 3)
    sent = together(cluster, first, lambda: publisher.publish(CHANNEL, RULE, b"rest", lambda _: None, on_feed), last)
    assert sent == [(PUBLISH.sha, 15), (PUBLISH_ON_FEED.sha, 17), (PUBLISH.sha, 15)]


@pytest.mark.parametrize("command", ["ephemeral", "page", "clear", "subscribe"])
def test_other_commands_about_the_channel_keep_their_place(command: str) -> None:
    cluster, process = vouched()
    if command == "subscribe":
        cluster.step(lambda: process.broker.listen(CHANNEL, lambda: None))
        cluster.settle()
    other: dict[str, Callable[[], object]] = {
        "ephemeral": lambda: process.broker.publish(Publication(CHANNEL, "e", {"n": 9}, is_ephemeral=True)),
        "page": lambda: process.history.page(CHANNEL, None, 10, is_reverse=False, answer=lambda _: None),
        "clear": lambda: process.history.clear(CHANNEL, lambda _: None),
        "subscribe": lambda: process.history.recover(CHANNEL, None, lambda _: None, lambda _: None),
    }
    first, second, last = publications(process, 1, 2, 3)
    sent = together(cluster, first, second, other[command], last)
    assert sent[0] == (PUBLISH.sha, 16)
    assert sent[1][0] != PUBLISH.sha
    assert sent[2:] == [(PUBLISH.sha, 15)]


def test_what_was_not_sent_on_a_lost_connection_waits_for_the_next() -> None:
    cluster, process = vouched()
    publish_all = publications(process, 1, 2)
    cluster.step(lambda: [*(action() for action in publish_all), process.lose_commander(0), process.publish(3)])
    cluster.connect()
    cluster.settle()
    assert offsets(cluster) == [0, 1, 2, 3]
    assert all(ticket.position for ticket in process.tickets)


def test_what_follows_a_first_publication_is_not_sent_to_another_run() -> None:
    cluster = Cluster(RULE)
    one, two = cluster.processes
    cluster.settle()
    for number in (1, 2, 3):
        cluster.step(lambda number=number: two.publish(number))
    cluster.step(lambda: two.lose_commander(1))
    cluster.step(lambda: one.publish(4))
    older = cluster.redis.saved()
    cluster.settle()
    cluster.step(lambda: one.lose_commander(0))
    cluster.redis.restart(older)
    cluster.rest()
    assert all(len(ticket.outcomes) == 1 for ticket in (*one.tickets, *two.tickets))


def test_the_stop_of_a_server_refuses_what_was_not_sent() -> None:
    cluster, process = vouched()
    publish_all = publications(process, 1, 2)
    cluster.step(lambda: [*(action() for action in publish_all), process.history.stop()])
    assert [len(ticket.outcomes) for ticket in process.tickets[1:]] == [1, 1]


def test_an_error_in_one_callback_does_not_affect_the_others(caplog: pytest.LogCaptureFixture) -> None:
    cluster, process = vouched()
    found: list[object] = []

    def broken(_: object) -> None:
        raise ValueError("broken")

    publisher = process.history.publisher
    callbacks: tuple[Callable[[object], None], ...] = (found.append, broken, found.append)
    cluster.step(lambda: [publisher.publish(CHANNEL, RULE, _rest(), callback) for callback in callbacks])
    cluster.settle()
    assert [position.offset for position in found if isinstance(position, Position)] == [2, 4]
    assert "bug while handling a reply from redis" in caplog.text


def test_a_channel_that_has_to_be_asked_again_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, process = vouched()
    monkeypatch.setattr(numbered_publisher, "MAX_VOUCHED", 1)
    first, second, last = publications(process, 1, 2, 3)
    cluster.step(lambda: process.broker.publish(Publication("another", "e", {"n": -1})))
    process.execute()
    # The answer comes between two publications, and lets the process forget about the channel.
    cluster.step(lambda: [first(), second(), process.answer(), last()])
    cluster.settle()
    assert offsets(cluster)[-4:] == [0, 1, 2, 3]


def _rest() -> bytes:
    return encode_rest(Publication(CHANNEL, "e", {"n": 5}), "node", 1)


class StubCommander:
    """Keeps the callback of the last command."""

    def __init__(self) -> None:
        self.answered: list[Callable[[object], None]] = []

    def send(self, packed: bytes, answered: Callable[[object], None], *, is_bound: bool = False) -> None:
        self.answered.append(answered)

    def send_first(self, *words: object, answered: Callable[[object], None]) -> None:
        self.answered.append(answered)

    def log_refusal(self, command: bytes, reply: object) -> None:
        raise AssertionError(reply)


async def test_those_who_have_heard_a_channel_get_a_second_after_redis_is_there_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if the publication has waited for longer: they notice Redis at about the same time."""
    now = [100.0]
    commander = StubCommander()
    publisher = NumberedPublisher(
        commander,  # type: ignore[arg-type]
        HistoryKeys(b"fastws:"),
        lambda channel: None,
        lambda: None,
        lambda: now[0],
    )
    forced: list[bool] = []
    packed = publisher._packed

    def note(*words: Any, is_forced: bool) -> bytes:
        forced.append(is_forced)
        return packed(*words, is_forced=is_forced)

    monkeypatch.setattr(publisher, "_packed", note)
    publisher.publish("c", RULE, b"rest", lambda result: None)
    now[0] += 1.5
    publisher.commander_up()
    commander.answered[-1](b"run_id:r\r\n")
    for seconds in (0.1, VOUCH_SECONDS - 0.2, 0.2):
        commander.answered[-1]([0])
        now[0] += seconds
        publisher._retry("c")
    assert forced == [False, False, False, True]
