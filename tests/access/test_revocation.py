"""Revocations."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.revocation import CLOCK_SECONDS, FURTHEST_SECONDS, PAGE, Revocations
from fastws.vocabulary.identity import Identity

DAY = 24 * 3600.0
START = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def bearer(
    jti: str | None = None, issued_at: float | None = None, user: str = "u1", expires_at: float = 0.0
) -> Identity:
    return Identity(user, token_id=jti, issued_at=issued_at, expires_at=expires_at)


def test_a_token_is_revoked_by_its_id_alone() -> None:
    revoked = Revocations(Clock())
    revoked.revoke_token("t1")
    assert revoked.is_revoked(bearer("t1"))
    assert revoked.is_revoked(bearer("t1", user="u2"))
    assert not revoked.is_revoked(bearer("t2"))
    assert not revoked.is_revoked(bearer())


def test_a_token_whose_end_is_not_known_is_revoked_for_thirty_days() -> None:
    clock = Clock()
    revoked = Revocations(clock)
    revoked.revoke_token("t1")
    clock.now += 30 * DAY - 1
    assert revoked.is_revoked(bearer("t1"))
    clock.now += 1
    assert not revoked.is_revoked(bearer("t1"))


@pytest.mark.parametrize("lifetime", [60, 9 * DAY, 400 * DAY])
def test_a_token_whose_end_is_known_is_revoked_until_nobody_accepts_it(lifetime: float) -> None:
    clock = Clock()
    revoked = Revocations(clock, leeway_seconds=30)
    revoked.revoke_token("t1", START + lifetime)
    clock.now = START + lifetime + 30 + CLOCK_SECONDS - 1
    assert revoked.is_revoked(bearer("t1"))
    clock.now += 1
    assert not revoked.is_revoked(bearer("t1"))


def test_a_revoked_token_that_is_seen_and_lives_longer_is_revoked_until_its_end() -> None:
    clock = Clock()
    revoked = Revocations(clock, leeway_seconds=30)
    revoked.revoke_token("t1")
    revoked.revoke_token("short", START + 60)
    assert revoked.is_revoked(bearer("t1", expires_at=START + 90 * DAY))
    assert revoked.is_revoked(bearer("t1", expires_at=START + 50 * DAY))
    assert revoked.is_revoked(bearer("short", expires_at=START + 30))
    extended = {"tokens": {"t1": START + 90 * DAY + 30 + CLOCK_SECONDS}, "users": {}}
    assert revoked.take_extended() == extended
    assert revoked.take_extended() == {"tokens": {}, "users": {}}
    assert revoked.of(tokens=["t1"]) == extended
    clock.now = START + 90 * DAY
    assert revoked.is_revoked(bearer("t1"))
    assert not revoked.is_revoked(bearer("short"))


def test_a_token_that_is_not_revoked_is_not_by_being_seen() -> None:
    revoked = Revocations(Clock())
    assert not revoked.is_revoked(bearer("t1", expires_at=START + 90 * DAY))
    assert len(revoked) == 0


def test_of_a_user_the_tokens_issued_up_to_the_leeway_are_revoked_and_those_that_do_not_say() -> None:
    revoked = Revocations(Clock(), leeway_seconds=30)
    revoked.revoke_user("u1")
    assert revoked.is_revoked(bearer(issued_at=START - 1))
    assert revoked.is_revoked(bearer(issued_at=START + 30))
    assert revoked.is_revoked(bearer())
    assert not revoked.is_revoked(bearer(issued_at=START + 31))
    assert not revoked.is_revoked(bearer(user="u2"))


def test_a_user_is_revoked_for_thirty_days() -> None:
    clock = Clock()
    revoked = Revocations(clock, leeway_seconds=0)
    revoked.revoke_user("u1")
    clock.now += 30 * DAY - 1
    assert revoked.is_revoked(bearer())
    clock.now += 1
    assert not revoked.is_revoked(bearer())


def test_revoking_again_never_shortens() -> None:
    revoked = Revocations(Clock())
    revoked.revoke_user("u1", START)
    revoked.revoke_user("u1", START - 100)
    assert revoked.is_revoked(bearer(issued_at=START))
    revoked.revoke_token("t1", START + 50 * DAY)
    revoked.revoke_token("t1")
    revoked.revoke_token("t1", START + 5)
    assert revoked.snapshot()["tokens"]["t1"] > START + 50 * DAY


def test_another_process_takes_over_a_snapshot_through_json() -> None:
    clock = Clock()
    here, there = Revocations(clock), Revocations(clock)
    here.revoke_token("t1")
    change = here.revoke_user("u1")
    assert there.merge(json.loads(json.dumps(here.snapshot())))
    assert there.snapshot() == here.snapshot()
    assert not there.merge(change)
    assert not there.merge({})
    assert there.is_revoked(bearer("t1", user="u3"))


entries = st.dictionaries(st.sampled_from("abc"), st.floats(START + 1, START + 9e5), max_size=3)
snapshots = st.fixed_dictionaries({"tokens": entries, "users": entries})


@given(st.lists(snapshots, max_size=5))
def test_snapshots_come_to_the_same_in_any_order_and_any_number_of_times(changes: list[dict[str, object]]) -> None:
    forwards, backwards = Revocations(Clock()), Revocations(Clock())
    for change in changes:
        forwards.merge(change)  # type: ignore[arg-type] # the strategy makes snapshots
    for change in [*changes[::-1], *changes]:
        backwards.merge(change)  # type: ignore[arg-type]
    assert forwards.snapshot() == backwards.snapshot()


def test_what_has_run_out_is_dropped_as_more_comes_in() -> None:
    clock = Clock()
    revoked = Revocations(clock)
    for n in range(20_000):
        revoked.revoke_token(f"t{n}", clock.now + DAY)
        clock.now += 60
    # One a minute: those of a day, and of the hours in which the first of them ends.
    assert 1440 <= len(revoked) <= 1440 + 2 * 60 + 2
    assert revoked.is_revoked(bearer("t19999"))
    assert len(revoked.snapshot()["tokens"]) == 1441


@pytest.mark.parametrize("moment", [float("nan"), float("-inf"), START - 31 * DAY, 0, -5])
def test_nonsense_and_what_has_run_out_is_not_taken_over(moment: float) -> None:
    revoked = Revocations(Clock())
    assert not revoked.merge({"tokens": {"t1": moment}, "users": {"u1": moment}})
    assert len(revoked) == 0


def test_nothing_is_kept_for_ever() -> None:
    clock = Clock()
    revoked = Revocations(clock)
    assert revoked.merge({"tokens": {"t1": float("inf")}, "users": {"u1": 1e300}})
    assert revoked.snapshot() == {
        "tokens": {"t1": START + FURTHEST_SECONDS},
        "users": {"u1": START + FURTHEST_SECONDS},
    }


def test_who_knows_less_is_told_the_difference() -> None:
    clock = Clock()
    revoked = Revocations(clock)
    revoked.merge({"tokens": {"a": START + 10, "b": START + DAY}, "users": {"u1": START, "u2": START - 5}})
    assert list(map(dict, revoked.missing_from({"a": START + 5, "b": START + DAY}, "tokens"))) == [
        {"a": START + 10},
        {},
    ]
    assert [entry for entry in revoked.missing_from({}, "users") if entry] == [{"u1": START, "u2": START - 5}]
    told = {"tokens": {"a": START + 5, "b": START + DAY, "c": START + 1}, "users": {"u2": START - 6}}
    assert revoked.later_than(told) == {"tokens": {"a": START + 10}, "users": {"u2": START - 5}}
    clock.now += 20
    assert [entry for entry in revoked.missing_from({}, "tokens") if entry] == [{"b": START + DAY}]


def test_what_is_missing_comes_in_pages() -> None:
    revoked = Revocations(Clock())
    names = {f"t{number}": START + 10 for number in range(2 * PAGE + 1)}
    revoked.merge({"tokens": names})
    pages = list(revoked.missing_from({}, "tokens"))
    assert sorted(map(len, pages)) == [1, PAGE, PAGE]
    assert {name: at for page in pages for name, at in page.items()} == names


@given(entries=st.dictionaries(st.text(max_size=3), st.floats(START, START + 9e5)), ahead=st.floats(-50, 50))
def test_two_who_know_the_same_count_the_same_whatever_their_clocks(entries: dict[str, float], ahead: float) -> None:
    """The moment that one of them counts from tells a sorted set, which has dropped what the other's clock ended."""
    clock = Clock()
    revoked = Revocations(clock)
    revoked.merge({"tokens": entries, "users": entries})
    clock.now += 5000
    others = clock.now + ahead
    for table, lifetime in (("tokens", 0.0), ("users", 30 * DAY)):
        moment, count = revoked.count_ahead(table)
        kept = [at for at in entries.values() if at + lifetime > others and at > START - lifetime]
        assert count == sum(at >= moment for at in kept)


def test_what_was_made_longer_is_not_dropped_with_its_first_hour() -> None:
    clock = Clock()
    revoked = Revocations(clock)
    revoked.merge({"tokens": {"t1": START + 60}})
    revoked.merge({"tokens": {"t1": START + DAY}})
    assert revoked.count_ahead("tokens")[1] == 1
    clock.now += DAY - 1
    revoked.merge({"tokens": {"t2": START + 2 * DAY}})
    assert revoked.is_revoked(bearer("t1"))
    clock.now += DAY / 2
    revoked.merge({})
    assert len(revoked) == 1


def test_the_count_begins_with_an_hour_that_no_clock_has_reached() -> None:
    clock = Clock()
    revoked = Revocations(clock)
    clock.now = START - START % 3600 + 3600
    assert revoked.count_ahead("tokens")[0] == clock.now + 3600
    clock.now -= CLOCK_SECONDS + 1
    assert revoked.count_ahead("tokens")[0] == clock.now + CLOCK_SECONDS + 1
    clock.now += 1
    assert revoked.count_ahead("tokens")[0] == clock.now + CLOCK_SECONDS + 3600
