"""Which kinds of trouble a run has."""

from __future__ import annotations

import pytest
from soaking.kinds import KINDS, choose, needs_redis


def test_all_kinds_without_a_choice() -> None:
    assert choose(set(), set(), has_own_server=True) == set(KINDS)


def test_server_that_runs_already_is_not_hurt() -> None:
    chosen = choose(set(), set(), has_own_server=False)
    assert {"listeners", "jittery", "hasty"} <= chosen
    assert not any(KINDS[name].needs_server for name in chosen)


def test_only_and_without() -> None:
    assert choose({"slow", "hasty"}, {"slow"}, has_own_server=True) == {"hasty"}
    assert choose(set(), {"role"}, has_own_server=True) == set(KINDS) - {"role"}


def test_flush_needs_revocations_to_look_at() -> None:
    assert choose({"flush"}, set(), has_own_server=True) == {"flush", "revocations"}


def test_unknown_kind_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown kind jitery: must be one of listeners, churners,"):
        choose({"jitery"}, set(), has_own_server=True)


def test_kind_that_cannot_be_done_to_a_given_server_is_an_error() -> None:
    with pytest.raises(ValueError, match="flush: cannot be done to the server of --url"):
        choose({"flush", "slow"}, set(), has_own_server=False)


def test_redis_is_needed_by_some_kinds_only() -> None:
    assert not needs_redis({"listeners", "jittery", "hasty", "revocations"})
    assert all(needs_redis({kind}) for kind in ("tls", "rights", "role", "flush", "kill-redis"))
