import base64
import json
import threading
import time

import pytest

from fastws.client.tokens import TokenSource, claim_of, expiry_of
from fastws.errors import BadRequest


def token_until(expires):
    body = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
    return f"e30.{body}.sig"


@pytest.mark.parametrize("token", ["", "a.b", "a.%%.c", "a.e30.c", "a.bnVsbA.c", token_until("soon")])
def test_a_token_without_a_readable_end_has_none(token):
    assert expiry_of(token) is None
    assert TokenSource(token, lambda: "x").seconds_until_refresh() is None


def test_the_end_is_read_from_the_claims():
    assert expiry_of(token_until(123.5)) == 123.5


def test_a_refresh_is_due_a_minute_before_the_end_or_halfway():
    now = time.time()
    for left, due in [(3600, 3540), (100, 50), (10, 5), (-5, 0.1)]:
        source = TokenSource(token_until(now + left), lambda: "x")
        assert source.seconds_until_refresh() == pytest.approx(due, abs=1)
    assert TokenSource(token_until(now + 3600), None).seconds_until_refresh() is None


async def test_a_fixed_token_stays_and_cannot_be_renewed():
    source = TokenSource("fixed", None)
    assert await source.current() == "fixed"
    assert not source.can_renew
    with pytest.raises(BadRequest, match="token_provider"):
        await source.renew()


async def test_a_provider_is_asked_at_first_and_when_the_token_has_ended():
    tokens = iter([token_until(time.time() - 1), "no-end"])
    source = TokenSource(None, lambda: next(tokens))
    assert (await source.current()).startswith("e30.")
    assert await source.current() == "no-end"
    assert await source.current() == "no-end"


async def test_a_plain_provider_runs_in_a_thread_and_a_coroutine_on_the_loop():
    async def coroutine():
        return threading.current_thread().name

    here = threading.current_thread().name
    assert await TokenSource(None, coroutine).renew() == here
    assert await TokenSource(None, lambda: coroutine()).renew() == here
    assert await TokenSource(None, lambda: threading.current_thread().name).renew() != here


@pytest.mark.parametrize("answer", [None, "", 5])
async def test_a_provider_that_returns_no_token_raises_an_error(answer):
    with pytest.raises(BadRequest, match="must return a token"):
        await TokenSource(None, lambda: answer).current()


def test_a_claim_is_read_if_it_is_a_string():
    body = base64.urlsafe_b64encode(json.dumps({"sub": "u1", "exp": 5}).encode()).decode().rstrip("=")
    token = f"e30.{body}.signature"
    assert [claim_of(token, claim) for claim in ("sub", "exp", "none")] == ["u1", None, None]
    assert [claim_of(other, "sub") for other in (None, "", "not a token", "a.b.c")] == [None] * 4
