"""The key of backends."""

from __future__ import annotations

import pytest

from fastws.access.broadcast_key import BroadcastKeys, bearer
from fastws.errors import ConfigError, Unauthorized

KEYS = BroadcastKeys(["first key", "second"])


@pytest.mark.parametrize(
    "authorization", ["Bearer first key", "bearer first key", "BEARER  first key ", " Bearer second", "Bearer second"]
)
def test_each_of_the_keys_is_good(authorization: str) -> None:
    assert KEYS.allows(authorization)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "first key",
        "Basic first key",
        "Bearer first",
        "Bearer first key2",
        "Bearer FIRST KEY",
        "Bearerfirst key",
        "Bearer first key,second",
        "Bearer \udcff",
        "Bearer " + "x" * 100_000,
    ],
)
def test_anything_else_is_not(authorization: str | None) -> None:
    assert not KEYS.allows(authorization)


def test_without_a_key_nobody_is_let_in() -> None:
    for none in (BroadcastKeys([]), BroadcastKeys([""])):
        assert not none
        assert not none.allows("Bearer ")
        assert not none.allows("Bearer")
    assert KEYS


@pytest.mark.parametrize(
    ("keys", "authorization", "words"),
    [
        (KEYS, None, "missing header `Authorization: Bearer <broadcast key>`"),
        (KEYS, "Basic eDp5", "missing header `Authorization: Bearer <broadcast key>`"),
        (KEYS, "Bearer wrong", "invalid broadcast key: send one that is in the server's setting broadcast_key"),
        (BroadcastKeys([]), "Bearer any", "has no broadcast_key, so this endpoint is disabled"),
    ],
)
def test_a_refusal_says_what_is_missing_and_shows_no_key(
    keys: BroadcastKeys, authorization: str | None, words: str
) -> None:
    KEYS.check("Bearer second")
    with pytest.raises(Unauthorized, match=words) as refused:
        keys.check(authorization)
    assert "wrong" not in str(refused.value)


@pytest.mark.parametrize("key", ["sécond", " key", "key\n", "a\x00b", "k\udcff"])
def test_a_key_that_no_header_could_carry_stops_the_start_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="broadcast_key") as refused:
        BroadcastKeys(["good", key])
    assert key not in str(refused.value)


def test_other_schemes_carry_no_bearer_key() -> None:
    assert bearer("Basic eDp5") is None
    assert bearer("Bearer\tx") is None
    assert bearer("Bearer x y") == "x y"


def test_a_short_key_is_warned_of() -> None:
    assert BroadcastKeys(["x" * 16]).warnings == ()
    assert BroadcastKeys(["x" * 16, "x" * 15]).warnings == (
        "broadcast_key is shorter than 16 bytes: it can be guessed",
    )
