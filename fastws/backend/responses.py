"""Responses of `POST /broadcast`, parsed into outcomes or into errors that say what to do."""

from __future__ import annotations

from typing import Any, cast

import httpx
import orjson

from fastws.backend.publishing_methods import Outcome
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
    Unrecoverable,
)

RETRYABLE = (Unavailable, BrokerUnavailable, RateLimited)
BUSY_STATUSES = frozenset({502, 503, 504})  # proxies answer 502 and 504 while the server restarts
REFUSALS: dict[int, type[FastWSError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Unrecoverable,
    413: TooLarge,
}
ADVICE = {
    401: "set `key` or FASTWS_BROADCAST_KEY to one of the keys in the server's `broadcast_key`",
    403: "the server, or a proxy in front of it, does not allow this backend to publish",
    404: "the URL must be a fastws server, without a path or with a stage such as /production",
    405: "this address is not a fastws server: check `url` or FASTWS_URL",
    413: "send smaller messages, or raise the server's `max_message_bytes`",
    429: "the server's `broadcast_rate` is exceeded",
}


def read_outcomes(response: httpx.Response) -> list[Outcome | FastWSError]:
    """Return one result per message, in order. Raises an error if the status is not 200."""
    if response.status_code != httpx.codes.OK:
        raise read_error(response)
    try:
        body = orjson.loads(response.content)
        return [_read_item(item) for item in body.get("results", [body])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FastWSError(
            f"{response.url} answered 200 without the result of a broadcast: is it a fastws server?"
        ) from error


def read_object(response: httpx.Response) -> dict[str, Any]:
    """Return the object in a response. Raises an error if the status is not 200."""
    if response.status_code != httpx.codes.OK:
        raise read_error(response)
    try:
        return cast("dict[str, Any]", orjson.loads(response.content))
    except ValueError as error:
        raise FastWSError(f"{response.url} answered 200 without JSON: is it a fastws server?") from error


def _read_item(item: dict[str, Any]) -> Outcome | FastWSError:
    if "error" in item:
        code, message = item["error"]["code"], item["error"]["message"]
        return BrokerUnavailable(message) if code == BrokerUnavailable.code else FastWSError(message)
    return Outcome(sent=item["sent"], failed=item["failed"], stale=item["stale"])


def read_error(response: httpx.Response) -> FastWSError:
    """Return the error for a status other than 200, with the server's message and a hint."""
    status = response.status_code
    code, message = _error_body(response)
    text = f"{response.url} answered {status}" + (f": {message}" if message else "")
    if status in ADVICE:
        text += f" ({ADVICE[status]})"
    if status in BUSY_STATUSES:
        if code == BrokerUnavailable.code:
            return BrokerUnavailable(text)
        return Unavailable(text, retry_after_seconds=_header_seconds(response))
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited(text, retry_after_seconds=_header_seconds(response))
    if status == httpx.codes.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(text, allow=(response.headers.get("Allow", ""),))
    return REFUSALS.get(status, FastWSError)(text)


def unreachable(url: str, cause: httpx.TransportError) -> Unavailable:
    """Return the error for a server that did not answer."""
    reason = str(cause) or type(cause).__name__
    return Unavailable(f"no answer from {url} ({reason}): is `fastws serve` running there?", retry_after_seconds=0)


def retry_after_seconds(error: FastWSError) -> float:
    """Return the Retry-After of an error, or 0."""
    return error.retry_after_seconds if isinstance(error, Unavailable | RateLimited) else 0


def _error_body(response: httpx.Response) -> tuple[str, str]:
    """Return code and message of the error body. A proxy's page has no code; its text is the message, shortened."""
    try:
        error = cast("dict[str, Any]", orjson.loads(response.content)["error"])
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "", " ".join(response.text.split())[:200]


def _header_seconds(response: httpx.Response) -> int:
    value = response.headers.get("Retry-After", "")
    return int(value) if value.isascii() and value.isdigit() else 0  # the HTTP-date form is ignored
