"""JSON responses: bodies, and the headers of each kind of error."""

from __future__ import annotations

import pytest

from fastws.endpoints.answers import error_response, json_response
from fastws.errors import (
    Draining,
    FastWSError,
    Forbidden,
    MethodNotAllowed,
    RateLimited,
    ServerFull,
    TooLarge,
    Unauthorized,
    UpgradeRequired,
)

COMMON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def test_a_value_is_json_that_no_cache_keeps() -> None:
    response = json_response({"a": [1, "ä"]}, status=201)
    assert (response.status, response.body) == (201, '{"a":[1,"ä"]}'.encode())
    assert dict(response.headers) == COMMON
    assert json_response(None).status == 200


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (Forbidden("no"), 403, {}),
        (MethodNotAllowed("no", allow=("GET", "HEAD")), 405, {"Allow": "GET, HEAD"}),
        (RateLimited("no", retry_after_seconds=7), 429, {"Retry-After": "7"}),
        (ServerFull(), 503, {"Retry-After": "5"}),
        (Draining(), 503, {"Retry-After": "1"}),
        (TooLarge("no"), 413, {"x-amzn-ErrorType": "PayloadTooLargeException"}),
        (UpgradeRequired("no"), 426, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}),
        (Unauthorized("no"), 401, {"WWW-Authenticate": "Bearer"}),
        (FastWSError("no"), 500, {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, FastWSError) else None,
)
def test_an_error_has_its_code_and_message_and_the_headers_that_go_with_it(
    error: FastWSError, status: int, headers: dict[str, str]
) -> None:
    response = error_response(error)
    assert response.status == status
    assert response.body == b'{"error":{"code":"%s","message":"%s"}}' % (error.code.encode(), error.message.encode())
    assert dict(response.headers) == {**COMMON, **headers}
