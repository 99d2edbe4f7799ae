"""Revocations."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fastws.access.revocation import Revocations
from fastws.vocabulary.identity import Identity

DAY = 24 * 3600.0
START = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def bearer(jti: str | None = None, issued_at: float | None = None, user: str = "u1") -> Identity:
    return Identity(user, token_id=jti, issued_at=issued_at)


def test_a_token_is_revoked_by_its_id_alone() -> None:
    revoked = Revocations(Clock())
    revoked.revoke_token("t1")
    assert revoked.is_revoked(bearer("t1"))
    assert revoked.is_revoked(bearer("t1", user="u2"))
    assert not revoked.is_revoked(bearer("t2"))
    assert not revoked.is_revoked(bearer())


def test_a_token_whose_end_is_not_known_is_revoked_for_a_day() -> None:
    clock = Clock()
    revoked = Revocations(clock)
    revoked.revoke_token("t1")
    revoked.revoke_token("soon", START + 60)
    clock.now += DAY - 1
    assert revoked.is_revoked(bearer("t1"))
    assert revoked.is_revoked(bearer("soon"))
    clock.now += 1
    assert not revoked.is_revoked(bearer("t1"))
    assert not revoked.is_revoked(bearer("soon"))


def test_a_token_that_lives_longer_is_revoked_until_its_end_and_the_leeway() -> None:
    clock = Clock()
    revoked = Revocations(clock, leeway_seconds=30)
    revoked.revoke_token("t1", START + 9 * DAY)
    clock.now = START + 9 * DAY + 29
    assert revoked.is_revoked(bearer("t1"))
    clock.now += 1
    assert not revoked.is_revoked(bearer("t1"))


def test_of_a_user_the_tokens_issued_up_to_then_are_revoked_and_those_that_do_not_say() -> None:
    revoked = Revocations(Clock())
    revoked.revoke_user("u1")
    assert revoked.is_revoked(bearer(issued_at=START - 1))
    assert revoked.is_revoked(bearer(issued_at=START))
    assert revoked.is_revoked(bearer())
    assert not revoked.is_revoked(bearer(issued_at=START + 1))
    assert not revoked.is_revoked(bearer(user="u2"))


def test_a_user_is_revoked_for_thirty_days() -> None:
    clock = Clock()
    revoked = Revocations(clock)
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
    revoked.revoke_token("t1", START + 5 * DAY)
    revoked.revoke_token("t1")
    assert revoked.snapshot()["tokens"]["t1"] > START + 5 * DAY


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
        revoked.revoke_token(f"t{n}")
        clock.now += 60
    assert len(revoked) < 3 * 1440
    assert revoked.is_revoked(bearer("t19999"))
    # One a minute: those of a day, but for the one whose day has just ended.
    assert len(revoked.snapshot()["tokens"]) == 1439
