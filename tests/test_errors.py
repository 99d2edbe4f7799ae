"""Errors: what each class answers in HTTP, in a message and as a close code."""

from __future__ import annotations

import pytest

from fastws import errors
from fastws.errors import (
    Draining,
    FastWSError,
    MethodNotAllowed,
    ProtocolViolation,
    RateLimited,
    ServerFull,
    Unavailable,
)
from fastws.wire.opcodes import is_close_code

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FastWSError)]


@pytest.mark.parametrize("error", CLASSES)
def test_each_class_has_an_http_status_and_a_close_code_that_may_be_sent(error: type[FastWSError]) -> None:
    assert 400 <= error.status <= 599
    assert is_close_code(error.close_code)


def test_a_class_answers_with_the_status_of_its_code() -> None:
    statuses = {(error.code, error.status) for error in CLASSES}
    assert len(statuses) == len({code for code, _ in statuses})


def test_the_text_is_the_message_and_the_reason_is_by_default_the_code() -> None:
    error = errors.Forbidden("no access", channel="news")
    assert (str(error), error.message, error.channel, error.reason) == ("no access", "no access", "news", "forbidden")
    assert errors.Forbidden("no access", reason="workspace").reason == "workspace"


@pytest.mark.parametrize(
    ("error", "text", "reason", "retry_after_seconds"),
    [
        (ServerFull(), "the server is full; try again later", "full", 5),
        (Draining(), "the server is restarting; connect again", "draining", 1),
    ],
)
def test_a_server_that_accepts_nothing_says_when_to_retry(
    error: Unavailable, text: str, reason: str, retry_after_seconds: int
) -> None:
    assert (str(error), error.reason, error.retry_after_seconds) == (text, reason, retry_after_seconds)
    assert (error.code, error.status, error.close_code) == ("unavailable", 503, 1013)


def test_details_of_an_answer_are_attributes() -> None:
    assert MethodNotAllowed("only GET", allow=("GET",)).allow == ("GET",)
    assert RateLimited("slower", reason="address", retry_after_seconds=7).retry_after_seconds == 7
    assert RateLimited("slower").retry_after_seconds == Unavailable("not now").retry_after_seconds == 1
    assert ProtocolViolation("too large", violation_code=1009).violation_code == 1009
    assert ProtocolViolation("unmasked").violation_code == ProtocolViolation.close_code == 1002
