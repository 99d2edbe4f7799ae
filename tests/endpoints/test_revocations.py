"""POST /revocations: what is asked for, and until when it is kept."""

from __future__ import annotations

import time

import pytest

from fastws.access.revocation import CLOCK_SECONDS
from tests.endpoints.conftest import Ask
from tests.serving import Serve


@pytest.mark.parametrize("lifetime", [None, 60, 90 * 24 * 3600])
async def test_a_token_is_revoked_until_the_exp_that_is_given_or_for_thirty_days(
    serve: Serve, ask: Ask, lifetime: int | None
) -> None:
    server = await serve(jwt_leeway=30.0)
    now = int(time.time())
    body = {"jti": "t1"} if lifetime is None else {"jti": "t1", "exp": now + lifetime}
    assert (await ask(server, "POST", "/revocations", body)).status == 204
    end = now + 30 * 24 * 3600 if lifetime is None else now + lifetime + 30 + CLOCK_SECONDS
    assert server.admittance.revocations.snapshot()["tokens"]["t1"] == pytest.approx(end, abs=60)


async def test_a_user_is_revoked_up_to_the_leeway(serve: Serve, ask: Ask) -> None:
    server = await serve(jwt_leeway=30.0)
    assert (await ask(server, "POST", "/revocations", {"user": "u1", "exp": None})).status == 204
    assert server.admittance.revocations.snapshot()["users"]["u1"] == pytest.approx(time.time() + 30, abs=60)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "either"),
        ({"jti": "t", "user": "u"}, "either"),
        ({"jti": ""}, "`jti`"),
        ({"user": 5}, "`user`"),
        ({"user": "u", "exp": 2_000_000_000}, "`exp` can only be used with `jti`"),
        ({"jti": "t", "exp": "soon"}, "number of seconds"),
        ({"jti": "t", "exp": True}, "number of seconds"),
        ({"jti": "t", "exp": 0}, "milliseconds"),
        ({"jti": "t", "exp": -1}, "milliseconds"),
        ({"jti": "t", "exp": 2_000_000_000_000}, "milliseconds"),
    ],
)
async def test_a_bad_body_is_400_and_says_what_is_wrong(
    serve: Serve, ask: Ask, body: dict[str, object], word: str
) -> None:
    server = await serve()
    answer = await ask(server, "POST", "/revocations", body)
    assert answer.error[:2] == (400, "bad_request")
    assert word in answer.error[2]
    assert len(server.admittance.revocations) == 0
