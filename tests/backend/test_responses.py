import httpx
import orjson
import pytest

from fastws.backend.responses import read_error, read_outcomes, retry_after_seconds, unreachable
from fastws.errors import (
    BadRequest,
    BrokerUnavailable,
    FastWSError,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
)

URL = "http://host/broadcast"
OUTCOME = {"sent": 1, "failed": 0, "stale": 0}


def response(status, body, **headers):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=content, headers=fields, request=httpx.Request("POST", URL))


def test_one_message_and_many_are_read_alike():
    assert read_outcomes(response(200, OUTCOME)) == [OUTCOME]
    assert read_outcomes(response(200, {"results": [OUTCOME, OUTCOME]})) == [OUTCOME, OUTCOME]
    assert read_outcomes(response(200, {"results": []})) == []


def test_a_failed_item_becomes_an_error_in_its_place():
    failed = [{"error": {"code": code, "message": "why"}} for code in ("broker_unavailable", "internal")]
    first, away, other = read_outcomes(response(200, {"results": [OUTCOME, *failed]}))
    assert first == OUTCOME
    assert (type(away), type(other)) == (BrokerUnavailable, FastWSError)
    assert str(away) == str(other) == "why"


@pytest.mark.parametrize("body", [b"<html>", [], {"results": 1}, {"results": [1]}, {"sent": 1}, {"error": {}}])
def test_a_200_of_something_else_is_an_error(body):
    with pytest.raises(FastWSError, match="is it a fastws server"):
        read_outcomes(response(200, body))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, MethodNotAllowed),
        (413, TooLarge),
        (429, RateLimited),
        (418, FastWSError),
        (500, FastWSError),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
def test_each_status_has_its_error_with_address_status_and_the_servers_text(status, kind):
    error = read_error(response(status, {"error": {"code": "c", "message": "the reason"}}))
    assert type(error) is kind
    assert str(error).startswith(f"{URL} answered {status}: the reason")
    with pytest.raises(kind):
        read_outcomes(response(status, OUTCOME))


def test_a_503_of_the_broker_is_distinguished_by_its_code():
    error = read_error(response(503, {"error": {"code": "broker_unavailable", "message": "m"}}))
    assert type(error) is BrokerUnavailable


def test_the_page_of_a_proxy_is_shortened_to_one_line():
    text = str(read_error(response(502, b"<html>\n  " + b"x" * 500)))
    assert "\n" not in text
    assert len(text) < 300
    assert str(read_error(response(502, b""))) == f"{URL} answered 502"


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), ("0", 0), ("", 0), ("-1", 0), ("Fri, 01 Jan 2027 00:00:00 GMT", 0)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_seconds(status, value, seconds):
    fields = {"Retry_After": value} if value else {}
    assert retry_after_seconds(read_error(response(status, b"", **fields))) == seconds


def test_errors_without_a_retry_after_have_0():
    assert retry_after_seconds(BadRequest("x")) == 0
    assert retry_after_seconds(unreachable(URL, httpx.ConnectError(""))) == 0


def test_a_server_that_does_not_answer_is_named_with_the_cause():
    assert str(unreachable(URL, httpx.ConnectError("refused"))) == (
        f"no answer from {URL} (refused): is `fastws serve` running there?"
    )
    assert "(ConnectError)" in str(unreachable(URL, httpx.ConnectError("")))
