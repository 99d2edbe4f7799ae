"""Claims: which become an identity, and the text for each invalid one."""

from __future__ import annotations

import math

import pytest

from fastws.access.claims import MAX_NUMERIC_DATE, identity_of
from fastws.errors import BadRequest
from fastws.vocabulary.identity import Identity

VALID: dict[str, object] = {"sub": "u1", "exp": 2_000_000_000}


def test_two_claims_are_sufficient() -> None:
    assert identity_of(VALID) == Identity("u1", expires_at=2_000_000_000.0, claims=VALID)


def test_all_claims_are_read() -> None:
    claims: dict[str, object] = {
        **VALID,
        "iat": 1.5,
        "nbf": 0,
        "jti": "t1",
        "workspace_id": 7,
        "workspaces": ["a", 8],
        "channels": ["news", "user:{sub}:**"],
        "publish": [],
    }
    assert identity_of(claims) == Identity(
        user="u1",
        workspace="7",
        workspaces=frozenset({"7", "a", "8"}),
        channels=("news", "user:{sub}:**"),
        publish=(),
        expires_at=2_000_000_000.0,
        issued_at=1.5,
        token_id="t1",
        claims=claims,
    )


def test_claims_that_are_null_count_as_absent() -> None:
    optional = ("iat", "nbf", "jti", "workspace_id", "workspaces", "channels", "publish")
    identity = identity_of({**VALID, **dict.fromkeys(optional)})
    assert (identity.channels, identity.publish, identity.issued_at, identity.token_id) == (None, None, None, None)
    assert (identity.workspace, identity.workspaces) == (None, frozenset())


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"sub": None}, "`sub` is missing: it must be the user"),
        ({"sub": 1}, "`sub` must be a string of 1 to 255 characters"),
        ({"sub": ""}, "`sub` must be a string of 1 to 255 characters"),
        ({"sub": "u" * 251}, "`sub` has 256 characters"),
        ({"sub": " u"}, "`sub` begins or ends with white space"),
        ({"exp": None}, "`exp` is missing: it must be seconds since the epoch"),
        ({"exp": "2000000000"}, "`exp` must be a number of seconds"),
        ({"exp": True}, "`exp` must be a number of seconds"),
        ({"exp": -1}, "`exp` must be a time from 1970 to 9999"),
        ({"exp": MAX_NUMERIC_DATE + 1}, "`exp` must be a time from 1970 to 9999"),
        ({"exp": math.nan}, "`exp` must be a time from 1970 to 9999"),
        ({"exp": math.inf}, "`exp` must be a time from 1970 to 9999"),
        ({"iat": "x"}, "`iat` must be a number of seconds"),
        ({"nbf": []}, "`nbf` must be a number of seconds"),
        ({"jti": 1}, "`jti` must be a string of 1 to 255 characters"),
        ({"workspace_id": True}, "`workspace_id` must be a string, not bool"),
        ({"workspaces": "a"}, "`workspaces` must be a list of strings"),
        ({"workspaces": ["a", 1.5]}, "`workspaces[1]` must be a string, not float"),
        ({"channels": {"news": True}}, "`channels` must be a list of strings"),
        ({"channels": ["news", 1]}, "`channels[1]` must be a string, not int"),
        ({"publish": [""]}, "`publish[0]` is empty"),
    ],
)
def test_an_invalid_claim_is_named(claims: dict[str, object], text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        identity_of({**VALID, **claims})
    assert text in str(refusal.value)


@pytest.mark.parametrize("expires_at", [0, MAX_NUMERIC_DATE])
def test_the_first_and_the_last_time_are_valid(expires_at: int) -> None:
    assert identity_of({**VALID, "exp": expires_at}).expires_at == expires_at
    assert identity_of({**VALID, "sub": "u" * 250}).user == "u" * 250
