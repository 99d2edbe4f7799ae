"""JSON responses, including those for errors."""

from __future__ import annotations

import orjson

from fastws.errors import (
    FastWSError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
    UpgradeRequired,
)
from fastws.wire.response import Response

JSON_HEADERS = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def json_response(value: object, *, status: int = 200) -> Response:
    """Return `value` as a JSON response."""
    return Response(status, orjson.dumps(value), JSON_HEADERS)


def error_response(error: FastWSError) -> Response:
    """Return `{"error":{"code","message"}}` with the status and headers of `error`."""
    body = orjson.dumps({"error": {"code": error.code, "message": error.message}})
    return Response(error.status, body, (*JSON_HEADERS, *_headers_of(error)), error)


def _headers_of(error: FastWSError) -> tuple[tuple[str, str], ...]:
    if isinstance(error, MethodNotAllowed):
        return (("Allow", ", ".join(error.allow)),)
    if isinstance(error, RateLimited | Unavailable):
        return (("Retry-After", str(error.retry_after_seconds)),)
    if isinstance(error, TooLarge):
        # The body was refused before the route was known, so this may be a call of boto3, which reads this header.
        return (("x-amzn-ErrorType", "PayloadTooLargeException"),)
    if isinstance(error, UpgradeRequired):
        return (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    if isinstance(error, NotFound):
        # A browser client with a wrong path asks here why it was refused; its page may be of another origin.
        return (("Access-Control-Allow-Origin", "*"),)
    if isinstance(error, Unauthorized):
        return (("WWW-Authenticate", "Bearer"),)
    return ()
