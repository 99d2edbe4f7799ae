"""The messages to Pusher clients. `data` is text in text, as protocol 7 wants it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fastws.codec.json_text import JSON
from fastws.codec.registry import decoded
from fastws.errors import FastWSError, ReservedEvent
from fastws.vocabulary.commands import Answer
from fastws.vocabulary.presence import ChannelMember, MemberAdded, MemberRemoved
from fastws.vocabulary.publication import Encoded, Publication
from fastws.vocabulary.pusher_apps import PusherApp
from fastws.vocabulary.replies import (
    CacheMiss,
    Connected,
    Failure,
    Gap,
    Lag,
    Pong,
    Reply,
    Subscribed,
    SubscriptionCount,
)

Message = dict[str, object]
CLIENT_EVENT_CODE: Final = 4301
SUBSCRIPTION_ERROR: Final = "pusher:subscription_error"
_RATE_CODE: Final = 4301
RESERVED: Final = ("pusher:", "pusher_internal:")
# The code of a failed subscription, by its type.
_STATUS: Final[Mapping[str, int]] = {
    "AuthError": 401,
    "BadRequest": 400,
    "Forbidden": 403,
    "LimitReached": 4100,
    "ServerError": 503,
}
_TYPES: Final[Mapping[str, str]] = {
    "unauthorized": "AuthError",
    "bad_request": "BadRequest",
    "forbidden": "Forbidden",
    "too_many_channels": "LimitReached",
    "too_many_members": "LimitReached",
}


@dataclass(slots=True, frozen=True)
class Tallies:
    """Numbers of client events by result, and of refused subscriptions by type, for metrics."""

    client_events: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def error_message(message: str, *, code: int | None = None, channel: str | None = None) -> Message:
    """Return a `pusher:error`."""
    answer: Message = {"event": "pusher:error", "data": {"code": code, "message": message}}
    if channel is not None:
        answer["channel"] = channel
    return answer


def subscription_error(channel: str, kind: str, message: str) -> Answer:
    """Return the answer to a subscription that is refused."""
    return Answer(_subscription_error(channel, kind, message))


def _subscription_error(channel: str, kind: str, message: str) -> Message:
    data = {"type": kind, "error": message, "status": _STATUS[kind]}
    return {"event": SUBSCRIPTION_ERROR, "channel": channel, "data": data}


def delivery(publication: Publication, app: PusherApp) -> Message:
    """Return the message of a publication. Raises ReservedEvent for an event that only the server itself may send."""
    event, attributes = publication.event, publication.attributes
    if event.startswith(RESERVED):
        raise ReservedEvent(f"clients would take {event!r} for an event of the server")
    message: Message = {"event": event}
    if publication.channel:
        message["channel"] = app.name_of(publication.channel)
    message["data"] = publication.data if attributes and attributes.get("data") == "value" else _text(publication.data)
    if attributes and "user_id" in attributes:
        message["user_id"] = attributes["user_id"]
    return message


def cached_text(publication: Publication, app: PusherApp) -> str | None:
    """Return the data of the last event of a cache channel for the HTTP API; None if clients do not get the event."""
    try:
        data = delivery(publication, app)["data"]
    except ReservedEvent:
        return None
    plain = decoded(data) if isinstance(data, Encoded) else data
    return plain if isinstance(plain, str) else JSON.dumps(plain).decode()


def _text(data: object) -> str:
    """Return `data` as JSON text; of JSON that is still encoded the text itself."""
    if isinstance(data, Encoded):
        if data.codec == "json":
            return data.body.decode()
        data = decoded(data)
    return JSON.dumps(data).decode()


def reply(given: Reply, app: PusherApp) -> Message | None:
    """Return the message of a reply or notice; None if clients get none."""
    renderer = _RENDERERS.get(type(given))
    return None if renderer is None else renderer(given, app)


def _channel_event(event: str, channel: str, data: object, app: PusherApp) -> Message:
    return {"event": event, "channel": app.name_of(channel), "data": JSON.dumps(data).decode()}


def _connected(given: Connected, app: PusherApp) -> Message:
    data = {"socket_id": given.connection_id, "activity_timeout": app.activity_timeout}
    return {"event": "pusher:connection_established", "data": JSON.dumps(data).decode()}


def _subscribed(given: Subscribed, app: PusherApp) -> Message:
    data = {} if given.members is None else {"presence": _members(given.members)}
    return _channel_event("pusher_internal:subscription_succeeded", given.channel, data, app)


def _members(members: Sequence[ChannelMember]) -> Message:
    hashed = {member.user: member.info for member in members}
    return {"count": len(members), "ids": [member.shown_id for member in members], "hash": hashed}


def _added(given: MemberAdded, app: PusherApp) -> Message:
    data = {"user_id": given.member.shown_id, "user_info": given.member.info}
    return _channel_event("pusher_internal:member_added", given.channel, data, app)


def _removed(given: MemberRemoved, app: PusherApp) -> Message:
    return _channel_event("pusher_internal:member_removed", given.channel, {"user_id": given.member.shown_id}, app)


def _count(given: SubscriptionCount, app: PusherApp) -> Message:
    return _channel_event("pusher_internal:subscription_count", given.channel, {"subscription_count": given.count}, app)


def type_of(given: Failure) -> str:
    """Return the type of a failed subscription."""
    return _TYPES.get(given.code, "ServerError")


def _failure(given: Failure, app: PusherApp) -> Message | None:
    if given.code == "rate_limited":
        return error_message(given.message, code=_RATE_CODE)
    if given.channel is not None:
        return _subscription_error(app.name_of(given.channel), type_of(given), given.message)
    # Before a close, the error has the code of the close: see Pusher.parting.
    return None if given.code == "unauthorized" else error_message(given.message)


_RENDERERS: Final[Mapping[type, Callable[..., Message | None]]] = {
    Connected: _connected,
    Subscribed: _subscribed,
    MemberAdded: _added,
    MemberRemoved: _removed,
    Pong: lambda given, app: {"event": "pusher:pong", "data": "{}"},
    Failure: _failure,
    Gap: lambda given, app: _channel_event("fastws:gap", given.channel, {}, app),
    SubscriptionCount: _count,
    CacheMiss: lambda given, app: _channel_event("pusher:cache_miss", given.channel, {}, app),
    Lag: lambda given, app: {"event": "fastws:lag", "data": JSON.dumps({"dropped": given.dropped}).decode()},
}


def as_published(text: str) -> tuple[object, str]:
    """Return the data of a publication for the string `text`, and the attribute `data` that says how it is written.

    Clients of other dialects get the JSON value in `text`, or `text` itself if it is not JSON.
    """
    try:
        body = text.encode()
        JSON.loads(body)
    except (FastWSError, UnicodeEncodeError):
        return text, "value"
    return Encoded("json", body), "text"
