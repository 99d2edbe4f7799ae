"""What an answer of `POST /broadcast` means: outcomes, or the error that says what to do."""

from __future__ import annotations

from typing import Any, cast

import httpx
import orjson

from fastws.backend.calls import Outcome
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

RETRYABLE = (Unavailable, BrokerUnavailable, RateLimited)
BUSY_STATUSES = frozenset({502, 503, 504})  # 502 and 504 are what a proxy says while the server restarts
REFUSALS: dict[int, type[FastWSError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
}
ADVICE = {
    401: "set FASTWS_BROADCAST_KEY, or `key`, to one of the server's `broadcast_key`",
    403: "the server, or a proxy before it, does not let this backend publish",
    404: "the URL must be that of a fastws server, without a path or with its stage's",
    405: "something answers at this address that is no fastws server: check FASTWS_URL",
    413: "send less at once, or raise the server's `max_message_bytes`",
    429: "over the server's `broadcast_rate`",
}


def read_answers(response: httpx.Response) -> list[Outcome | FastWSError]:
    """How one message or each of a batch ended, in order. Raises the error of any answer but 200."""
    if response.status_code != httpx.codes.OK:
        raise read_refusal(response)
    try:
        body = orjson.loads(response.content)
        return [_read_item(item) for item in body.get("results", [body])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FastWSError(
            f"{response.url} answered 200, but with no outcome of a broadcast: is it a fastws server?"
        ) from error


def _read_item(item: dict[str, Any]) -> Outcome | FastWSError:
    if "error" in item:
        code, message = item["error"]["code"], item["error"]["message"]
        return BrokerUnavailable(message) if code == BrokerUnavailable.code else FastWSError(message)
    return Outcome(sent=item["sent"], failed=item["failed"], stale=item["stale"])


def read_refusal(response: httpx.Response) -> FastWSError:
    """The error of an answer that is not 200; its text has the server's own message and what to do."""
    status = response.status_code
    code, said = _server_words(response)
    text = f"{response.url} answered {status}" + (f": {said}" if said else "")
    if status in ADVICE:
        text += f" ({ADVICE[status]})"
    if status in BUSY_STATUSES:
        if code == BrokerUnavailable.code:
            return BrokerUnavailable(text)
        return Unavailable(text, retry_after_seconds=_retry_after_seconds(response))
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited(text, retry_after_seconds=_retry_after_seconds(response))
    if status == httpx.codes.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(text, allow=(response.headers.get("Allow", ""),))
    return REFUSALS.get(status, FastWSError)(text)


def unreachable(url: str, cause: httpx.TransportError) -> Unavailable:
    """The error of a server that gave no answer."""
    reason = str(cause) or type(cause).__name__
    return Unavailable(f"no answer from {url} ({reason}): is `fastws serve` running there?", retry_after_seconds=0)


def wait_seconds(error: FastWSError) -> float:
    """How long the server asked to be left alone."""
    return error.retry_after_seconds if isinstance(error, Unavailable | RateLimited) else 0


def _server_words(response: httpx.Response) -> tuple[str, str]:
    """The code and message of the server's error body, or the first words of whatever a proxy wrote."""
    try:
        error = cast("dict[str, Any]", orjson.loads(response.content)["error"])
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "", " ".join(response.text.split())[:200]


def _retry_after_seconds(response: httpx.Response) -> int:
    value = response.headers.get("Retry-After", "")
    return int(value) if value.isascii() and value.isdigit() else 0  # the other form, a date, is no use to a backend
