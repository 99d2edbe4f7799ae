"""Events of a connection in the shape in which API Gateway hands them to a Lambda function (seed 004)."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Final

from fastws.wire.request import Request

Event = dict[str, object]

API_ID: Final = "fastws"
DEFAULT_STAGE: Final = "$default"
# Of what a client says of itself, so many characters are kept while it is connected.
MAX_KEPT_LENGTH: Final = 256
# As clients write them: HTTP's names have no case, but code written for API Gateway looks them up with theirs.
_SPELLINGS: Final = {"Websocket": "WebSocket"}


class Caller:
    """A client as events speak of it. `connected_at` is seconds since the epoch.

    `domain` is the Host it asked for and `stage` the path, so that `http://{domainName}/{stage}` is where its
    management API is. `waiting` counts its events that the application has not been told of yet.
    """

    __slots__ = ("address", "connected_at", "connection_id", "domain", "stage", "user", "user_agent", "waiting")

    def __init__(
        self, connection_id: str, request: Request, *, address: str, user: str | None, connected_at: float
    ) -> None:
        self.connection_id = connection_id
        self.domain = request.headers.get("host", "")[:MAX_KEPT_LENGTH]
        self.stage = request.path.strip("/")[:MAX_KEPT_LENGTH] or DEFAULT_STAGE
        self.address = address
        self.user_agent = request.headers.get("user-agent", "")[:MAX_KEPT_LENGTH]
        self.user = user
        self.connected_at = connected_at
        self.waiting = 0


def connect_event(caller: Caller, request: Request) -> Event:
    """`$connect`: with the headers and query of the upgrade."""
    event = _event(caller, "$connect", "CONNECT")
    event["headers"] = {_spelled(name): value for name, value in request.headers.items()}
    if request.query:
        event["queryStringParameters"] = dict(request.query)
    return event


def default_event(caller: Caller, body: str) -> Event:
    """`$default`: a message whose action nobody here knows."""
    event = _event(caller, "$default", "MESSAGE", messageId=secrets.token_urlsafe(12))
    event["body"] = body
    return event


def disconnect_event(caller: Caller, code: int, reason: str) -> Event:
    """`$disconnect`: with the close code (RFC 6455 section 7.4; 1005 none given, 1006 no close at all) and reason."""
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
