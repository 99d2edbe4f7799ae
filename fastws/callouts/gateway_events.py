"""Events of a connection in the format in which API Gateway passes them to a Lambda function (seed 004)."""

from __future__ import annotations

import base64
import binascii
import inspect
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from fastws.errors import BadRequest, FastWSError, Forbidden, Unauthorized
from fastws.wire.request import Request

Event = dict[str, object]

_FIRST_REFUSAL: Final = 400
API_ID: Final = "fastws"
DEFAULT_STAGE: Final = "$default"
# Longest Host, path and User-Agent, in characters, that are kept while a client is connected.
MAX_KEPT_LENGTH: Final = 256
# Header names are case-insensitive in HTTP, but code for API Gateway expects the usual spelling.
_SPELLINGS: Final = {"Websocket": "WebSocket"}


class Caller:
    """The client in an event. `connected_at` is in seconds since the epoch.

    `domain` is the host of `public_url`, or else the Host header, and `stage` the path, so that
    `http://{domainName}/{stage}` is the address of the management API. A client can put any name into its Host header.
    `waiting` is the number of its messages in the backlog.
    """

    __slots__ = ("address", "connected_at", "connection_id", "domain", "stage", "user", "user_agent", "waiting")

    def __init__(
        self,
        connection_id: str,
        request: Request,
        *,
        address: str,
        user: str | None,
        connected_at: float,
        public_host: str | None = None,
    ) -> None:
        self.connection_id = connection_id
        self.domain = public_host or request.headers.get("host", "")[:MAX_KEPT_LENGTH]
        self.stage = request.path.strip("/")[:MAX_KEPT_LENGTH] or DEFAULT_STAGE
        self.address = address
        self.user_agent = request.headers.get("user-agent", "")[:MAX_KEPT_LENGTH]
        self.user = user
        self.connected_at = connected_at
        self.waiting = 0


def connect_event(caller: Caller, request: Request) -> Event:
    """`$connect`, with the headers and the query of the upgrade."""
    event = _event(caller, "$connect", "CONNECT")
    event["headers"] = {_spelled(name): value for name, value in request.headers.items()}
    if request.query:
        event["queryStringParameters"] = dict(request.query)
    return event


def default_event(caller: Caller, body: str) -> Event:
    """`$default`, with a message whose action is unknown to the server."""
    event = _event(caller, "$default", "MESSAGE", messageId=secrets.token_urlsafe(12))
    event["body"] = body
    return event


def disconnect_event(caller: Caller, code: int, reason: str) -> Event:
    """`$disconnect`, with the reason and the close code (RFC 6455 section 7.4; 1005: no code, 1006: no close frame)."""
    return _event(caller, "$disconnect", "DISCONNECT", disconnectStatusCode=code, disconnectReason=reason)


def _event(caller: Caller, route: str, kind: str, **more: object) -> Event:
    now = time.time()
    context: Event = {
        "routeKey": route,
        "eventType": kind,
        "connectionId": caller.connection_id,
        "connectedAt": int(caller.connected_at * 1000),
        "domainName": caller.domain,
        "stage": caller.stage,
        "apiId": API_ID,
        "messageDirection": "IN",
        "requestId": secrets.token_urlsafe(12),
        "requestTime": f"{datetime.fromtimestamp(now, UTC):%d/%b/%Y:%H:%M:%S} +0000",
        "requestTimeEpoch": int(now * 1000),
        "identity": {"sourceIp": caller.address, "userAgent": caller.user_agent},
        **more,
    }
    if caller.user is not None:
        context["authorizer"] = {"principalId": caller.user}
    return {"requestContext": context, "isBase64Encoded": False}


def _spelled(name: str) -> str:
    words = (word.capitalize() for word in name.split("-"))
    return "-".join(_SPELLINGS.get(word, word) for word in words)


def refusal_in(answer: object) -> FastWSError | None:
    """Return the error if the answer to `$connect` is a refusal, else None.

    A refusal is False or a statusCode of 400 or more: 401 stays 401, all others become 403. Raises TypeError or
    ValueError for an invalid answer.
    """
    if answer is None or answer is True:
        return None
    if answer is False:
        return _refusal(Forbidden, "false")
    status = answer.get("statusCode", 200) if isinstance(answer, dict) else None
    if not isinstance(status, int | str) or isinstance(status, bool):
        raise TypeError(f"must be an object with statusCode, true, false or nothing, not {type(answer).__name__}")
    status = int(status)
    if status < _FIRST_REFUSAL:
        return None
    if status == Unauthorized.status:
        return _refusal(Unauthorized, str(status))
    return _refusal(Forbidden, str(status))


def _refusal(kind: type[FastWSError], answer: str) -> FastWSError:
    return kind(
        "the application refuses this connection: ask its operator, or connect with other credentials",
        reason="hook",
        cause=f"event_hook answered {answer} to $connect",
    )


def body_in(answer: object) -> str | bytes | None:
    """Return the `body` of the answer to `$default`, which is sent to the client: bytes if it is marked as base64.

    Raises BadRequest for an invalid body.
    """
    body: Any = answer.get("body") if isinstance(answer, dict) else None
    if body is None:
        return None
    if not isinstance(body, str):
        raise BadRequest(f"`body` must be a string, not {type(body).__name__}")
    if not (isinstance(answer, dict) and answer.get("isBase64Encoded")):
        return body
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise BadRequest(f"`body` is not base64: {error}") from None


def takes_context(function: Callable[..., object]) -> bool:
    """Whether `function` takes an event and a context, as Lambda functions do."""
    try:
        signature = inspect.signature(function)
        signature.bind(None)
    except TypeError:
        return True
    except ValueError:
        return False  # a built-in function without a signature
    return False
