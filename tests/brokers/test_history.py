"""The history of a single process: the table of spec-recovery.md section 2, expiry, pages and the bound on memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastws.brokers.history import HistoryRule, HistoryRules, MemoryHistory
from fastws.codec.registry import decoded
from fastws.errors import BadRequest, FastWSError, Unencodable, Unrecoverable
from fastws.vocabulary.positions import Page, Past, Position, Recovery
from fastws.vocabulary.publication import Publication

DAY = 86_400.0


class Channels:
    """A history with a clock that stands still, and subscribers that are only counted."""

    def __init__(self, count: int = 10, seconds: float = 60.0, **options: Any) -> None:
        self.now = 1000.0
        self.subscribers: dict[str, int] = {}
        self.gaps: list[tuple[str, Position]] = []
        self.rule = HistoryRule(count, seconds)
        self.history = MemoryHistory(
            HistoryRules([("plain:**", None), (None, self.rule)]),
            max_bytes=options.pop("max_bytes", 10**9),
            recover_limit=options.pop("recover_limit", 1000),
            count=lambda channel: self.subscribers.get(channel, 0),
            gap=lambda channel, position: self.gaps.append((channel, position)),
            clock=lambda: self.now,
        )

    def publish(self, count: int = 1, channel: str = "c", data: object = None) -> Position:
        position = self.heard(channel)
        for _ in range(count):
            value = {"n": position.offset + 1} if data is None else data
            _, position = self.history.keep(Publication(channel, "e", value), self.rule)
        return position

    def heard(self, channel: str = "c") -> Position:
        position = self.history.heard(channel)
        assert position is not None
        return position

    def recover(self, past: Past, channel: str = "c") -> Recovery:
        answers: list[Recovery | FastWSError] = []
        self.history.recover(channel, past, answers.append, lambda position: None)
        (answer,) = answers
        assert isinstance(answer, Recovery)
        return answer

    def page(self, position: Position | None = None, limit: int = 100, *, is_reverse: bool = False) -> Page:
        answers: list[Page | FastWSError] = []
        self.history.page("c", position, limit, is_reverse=is_reverse, answer=answers.append)
        (answer,) = answers
        if isinstance(answer, FastWSError):
            raise answer
        return answer


def numbers(publications: Any) -> list[int]:
    assert [decoded(p.data)["n"] for p in publications] == [p.offset for p in publications]
    return [p.offset for p in publications]


@pytest.mark.parametrize(
    ("published", "asked_from", "replayed", "outcome"),
    [
        (0, 0, 0, "recovered"),
        (10, 8, 2, "recovered"),
        (20, 8, 0, "too_old"),
        (20, 108, 0, "never_was"),
        (7, 7, 0, "recovered"),
        (4, 0, 4, "recovered"),
        (20, 10, 10, "recovered"),
        (20, 9, 0, "too_old"),
        (1, 2, 0, "never_was"),
    ],
)
def test_from_a_position_comes_everything_after_it_or_nothing(
    published: int, asked_from: int, replayed: int, outcome: str
) -> None:
    channels = Channels()
    top = channels.publish(published)
    recovery = channels.recover(Position(asked_from, top.epoch))
    assert (recovery.position, recovery.outcome) == (top, outcome)
    assert recovery.is_recovered is (outcome == "recovered")
    assert numbers(recovery.publications) == list(range(published + 1 - replayed, published + 1))


def test_seconds_count_from_the_newest_publication_and_are_exact() -> None:
    channels = Channels(seconds=1.0)
    top = channels.publish(9)
    channels.now += 0.9
    channels.publish()
    channels.now += 0.99
    assert len(channels.recover(Position(0, top.epoch)).publications) == 10
    channels.now += 0.01
    assert channels.recover(Position(8, top.epoch)).outcome == "too_old"
    assert channels.recover(Position(10, top.epoch)) == Recovery(Position(10, top.epoch), "recovered")


def test_what_is_beyond_the_limit_is_not_replayed_in_part() -> None:
    channels = Channels(recover_limit=2)
    top = channels.publish(10)
    assert channels.recover(Position(5, top.epoch)) == Recovery(top, "too_many")
    assert len(channels.recover(Position(8, top.epoch)).publications) == 2
    assert channels.recover(Position(10, top.epoch)).is_recovered


def test_a_limit_of_0_replays_nothing() -> None:
    channels = Channels(recover_limit=0)
    top = channels.publish(3)
    assert channels.recover(Position(2, top.epoch)).is_recovered is False
    assert channels.recover(Position(3, top.epoch)).is_recovered is True
    assert channels.recover(3).publications == ()


def test_an_epoch_of_another_life_is_never_continued() -> None:
    channels = Channels()
    top = channels.publish(3)
    assert channels.recover(Position(3, "x" + top.epoch)) == Recovery(top, "wrong_epoch")
    assert channels.heard() == top


def test_the_last_publications_are_replayed_without_a_promise() -> None:
    channels = Channels()
    top = channels.publish(20)
    assert numbers(channels.recover(3).publications) == [18, 19, 20]
    assert numbers(channels.recover(99).publications) == list(range(11, 21))
    assert channels.recover(0) == Recovery(top)


def test_a_numbering_lives_a_day_past_its_last_publication() -> None:
    channels = Channels()
    top = channels.publish(3)
    channels.now += DAY - 1
    assert channels.heard() == top
    channels.now += 1
    assert channels.heard() != top
    assert channels.heard().offset == 0


def test_a_numbering_lives_as_long_as_somebody_subscribes() -> None:
    channels = Channels()
    top = channels.publish(3)
    channels.subscribers["c"] = 1
    channels.now += 10 * DAY
    assert channels.heard() == top
    channels.subscribers["c"] = 0
    channels.history.left("c")
    assert channels.heard() != top


def test_a_numbering_without_a_publication_lives_an_hour_past_its_last_subscriber() -> None:
    channels = Channels()
    channels.subscribers["c"] = 1
    empty = channels.heard()
    channels.now += DAY
    channels.subscribers["c"] = 0
    channels.history.left("c")
    channels.now += 3599
    assert channels.recover(empty).is_recovered
    channels.now += 1
    assert channels.recover(empty).outcome == "wrong_epoch"


def test_what_has_expired_takes_no_memory() -> None:
    channels = Channels()
    for number in range(50):
        channels.publish(3, f"c{number}")
    assert channels.history.bytes > 0
    channels.now += DAY
    assert len(channels.history) == 0
    assert channels.history.bytes == 0


def test_over_the_bound_the_channel_that_was_silent_longest_loses_what_is_kept_but_not_its_numbering() -> None:
    channels = Channels(max_bytes=20_000)
    for name in ("a", "b", "c"):
        channels.publish(1, name, "x" * 5000)
    channels.publish(1, "a", "x" * 5000)
    assert channels.recover(Position(0, channels.heard("b").epoch), "b").outcome == "too_old"
    assert channels.heard("b").offset == 1
    assert len(channels.recover(Position(0, channels.heard("a").epoch), "a").publications) == 2
    assert len(channels.recover(Position(0, channels.heard("c").epoch), "c").publications) == 1
    assert channels.history.bytes <= 20_000


def test_a_channel_larger_than_the_bound_keeps_its_newest() -> None:
    channels = Channels(max_bytes=20_000)
    top = channels.publish(9, data="x" * 5000)
    assert channels.recover(Position(6, top.epoch)).is_recovered
    assert channels.recover(Position(5, top.epoch)).outcome == "too_old"
    assert channels.history.bytes <= 20_000


def test_numberings_alone_stay_within_the_bound_and_those_in_use_go_on() -> None:
    channels = Channels(max_bytes=20_000)
    channels.subscribers["used"] = 1
    used = channels.publish(1, "used")
    for number in range(1000):
        channels.heard(f"c{number}")
    assert channels.history.bytes <= 20_000
    assert channels.heard("used") == used


def test_pages_go_forward_and_back() -> None:
    channels = Channels()
    top = channels.publish(20)
    epoch = top.epoch
    assert numbers(channels.page().publications) == list(range(11, 21))
    assert numbers(channels.page(limit=3).publications) == [11, 12, 13]
    assert numbers(channels.page(Position(13, epoch), 3).publications) == [14, 15, 16]
    assert numbers(channels.page(Position(10, epoch), 1).publications) == [11]
    assert numbers(channels.page(top).publications) == []
    assert numbers(channels.page(limit=3, is_reverse=True).publications) == [20, 19, 18]
    assert numbers(channels.page(Position(18, epoch), 3, is_reverse=True).publications) == [17, 16, 15]
    assert numbers(channels.page(Position(11, epoch), is_reverse=True).publications) == []
    assert channels.page(limit=1).position == top


@pytest.mark.parametrize("is_reverse", [False, True])
@pytest.mark.parametrize("position", [(9, None), (21, None), (15, "other")])
def test_a_page_from_a_position_that_is_gone_is_refused(position: tuple[int, str | None], is_reverse: bool) -> None:
    channels = Channels()
    top = channels.publish(20)
    with pytest.raises(Unrecoverable):
        channels.page(Position(position[0], position[1] or top.epoch), is_reverse=is_reverse)


def test_a_page_has_at_most_a_mebibyte_but_never_nothing() -> None:
    channels = Channels()
    channels.publish(3, data="x" * 600_000)
    assert len(channels.page().publications) == 1
    channels.publish(1, data="x" * 2_000_000)
    assert len(channels.page(is_reverse=True, limit=10).publications) == 1


def test_a_cleared_history_begins_again_and_its_subscribers_hear_of_it() -> None:
    channels = Channels()
    top = channels.publish(3)
    answers: list[Position | FastWSError] = []
    channels.history.clear("c", answers.append)
    fresh = channels.heard()
    assert answers == [fresh]
    assert fresh.offset == 0
    assert fresh.epoch != top.epoch
    assert channels.gaps == [("c", fresh)]
    assert channels.page().publications == []
    assert channels.publish() == Position(1, fresh.epoch)


def test_a_channel_that_no_pattern_covers_has_no_history() -> None:
    channels = Channels()
    assert not channels.history.keeps("plain:a")
    assert channels.history.heard("plain:a") is None
    answers: list[object] = []
    calls: list[Callable[[], None]] = [
        lambda: channels.history.page("plain:a", None, 1, is_reverse=False, answer=answers.append),
        lambda: channels.history.clear("plain:a", answers.append),
    ]
    for call in calls:
        call()
    assert [type(answer) for answer in answers] == [BadRequest, BadRequest]


def test_what_cannot_be_encoded_takes_no_number() -> None:
    channels = Channels()
    top = channels.publish(2)
    with pytest.raises(Unencodable):
        channels.history.keep(Publication("c", "e", {"n": object()}), channels.rule)
    assert channels.heard() == top


def test_the_first_pattern_that_covers_a_channel_decides() -> None:
    rules = HistoryRules([("a:b", None), ("a:**", HistoryRule(1, 1.0)), (None, HistoryRule(2, 2.0))])
    assert rules("a:b") is None
    assert rules("a:c") == HistoryRule(1, 1.0)
    assert rules("z") == HistoryRule(2, 2.0)
    assert HistoryRules([("a:**", HistoryRule(1, 1.0))])("z") is None


def test_a_cache_channel_has_a_history_whatever_the_table_says() -> None:
    rules = HistoryRules([("a:**", HistoryRule(5, 60.0)), ("b", None)], {"a:c": 9.0, "a:d": 99.0, "b": 9.0}.get)
    assert rules("a:c") == HistoryRule(5, 60.0, is_cached=True)
    assert rules("a:d") == HistoryRule(5, 99.0, is_cached=True)
    assert rules("b") == HistoryRule(1, 9.0, is_cached=True)
    assert rules("a:x") == HistoryRule(5, 60.0)
    assert rules("z") is None
    assert HistoryRules((), dict[str, float]().get)
    assert not HistoryRules([("b", None)])
