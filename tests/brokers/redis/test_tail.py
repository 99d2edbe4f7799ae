"""The tail of a channel: what it answers by itself, and what only Redis knows."""

from __future__ import annotations

import pytest

from fastws.brokers.history import HistoryRule
from fastws.brokers.redis.tail import Heard, Memory, Tail
from fastws.vocabulary.positions import Past, Position
from fastws.vocabulary.publication import Publication

EPOCH = "e"
SECONDS = 10.0


def heard(offset: int, epoch: str = EPOCH) -> Heard:
    return Heard(Publication("c", "e", None, offset=offset), Position(offset, epoch), ("node", offset))


def tail(begins: int, *offsets: int, limit: int = 3) -> Tail:
    made = Tail("c", HistoryRule(limit, SECONDS), Memory())
    made.begin(Position(begins, EPOCH))
    for offset in offsets:
        made.append(heard(offset), 0.0)
    return made


@pytest.mark.parametrize(
    ("past", "outcome"),
    [
        (Position(6, EPOCH), "recovered"),
        (Position(4, EPOCH), "recovered"),
        (Position(3, EPOCH), None),
        (Position(7, EPOCH), None),
        (Position(6, "other"), None),
    ],
)
def test_only_what_is_sure_is_answered_without_redis(past: Past, outcome: str | None) -> None:
    found = tail(4, 5, 6).find(past, 1000, 0.0)
    assert (None if found is None else found.outcome) == outcome


def test_the_last_publications_are_answered_only_if_all_of_them_are_known() -> None:
    made = tail(4, 5, 6)
    assert made.find(3, 1000, 0.0) is None
    found = made.find(2, 1000, 0.0)
    assert found is not None
    assert [publication.offset for publication in found.publications] == [5, 6]


def test_what_is_kept_is_at_most_the_limit_and_gone_after_its_seconds() -> None:
    made = tail(0, 1, 2, 3, 4, 5)
    for past, outcome in ((2, "recovered"), (1, "too_old")):
        found = made.find(Position(past, EPOCH), 1000, SECONDS - 0.01)
        assert found is not None
        assert found.outcome == outcome
    found = made.find(Position(4, EPOCH), 1000, SECONDS)
    assert found is not None
    assert (found.outcome, found.publications) == ("too_old", ())
    assert made.memory.bytes == 0


def test_older_publications_are_taken_as_far_back_as_none_is_missing() -> None:
    made = tail(5, 6, limit=10)
    made.fill([heard(1), heard(2), heard(4), heard(5), heard(6)])
    assert [publication.offset for publication in made.kept] == [4, 5, 6]
    assert not made.is_complete
    assert made.find(Position(2, EPOCH), 1000, 0.0) is None


def test_a_read_that_ends_before_the_tail_begins_makes_nothing_whole() -> None:
    made = tail(12, 13, limit=10)
    made.fill([heard(9), heard(10)])
    assert [publication.offset for publication in made.kept] == [13]
    assert not made.is_complete


def test_an_epoch_that_has_ended_needs_no_second_look() -> None:
    made = tail(0, 1)
    made.begin(Position(0, "next"))
    found = made.find(Position(1, EPOCH), 1000, 0.0)
    assert found is not None
    assert found.outcome == "wrong_epoch"


def test_an_epoch_that_a_client_invented_is_asked_for_once_in_each_epoch() -> None:
    made = tail(0, 1)
    past = Position(1, "guess")
    assert made.find(past, 1000, 0.0) is None
    assert made.find(past, 1000, 0.0, is_fresh=True) is not None
    assert made.find(past, 1000, 0.0) is not None
    assert "guess" not in made.ended
    made.begin(Position(0, "next"))
    assert made.find(past, 1000, 0.0) is None


def test_an_epoch_that_is_too_long_to_be_one_is_neither_asked_for_nor_remembered() -> None:
    made = tail(0, 1)
    past = Position(1, "x" * 17)
    for is_fresh in (False, True):
        found = made.find(past, 1000, 0.0, is_fresh=is_fresh)
        assert found is not None
        assert found.outcome == "wrong_epoch"
    assert made.unknown == set()


def test_a_new_publication_does_not_bring_back_what_has_expired() -> None:
    made = tail(0, 1, 2)
    made.append(heard(3), SECONDS)
    assert [publication.offset for publication in made.kept] == [3]
    assert made.find(Position(1, EPOCH), 1000, SECONDS) is None, "only Redis knows"
