"""The rooms dialect (seed 001): users with a token subscribe to rooms. Their own room is subscribed on connect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastws.dialects.client_ids import client_field
from fastws.dialects.dialect import StartingChannels
from fastws.dialects.fields import (
    Message,
    Parser,
    SingleRequestDialect,
    parse_by_type,
    parse_ping,
    parse_refresh,
    timestamp_of,
)
from fastws.dialects.history import (
    history_parser,
    page_fields,
    past_of,
    position_fields,
    standing_fields,
    wanted,
)
from fastws.dialects.presence import presence_fields, presence_parser, update_fields
from fastws.errors import Unauthorized
from fastws.vocabulary.channels import check_channel_name
from fastws.vocabulary.commands import Command, Subscribe, Unsubscribe
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import MAILBOX_PREFIX
from fastws.vocabulary.presence import PresencePage, PresenceUpdate
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import (
    Connected,
    Failure,
    Gap,
    HistoryPage,
    Lag,
    Left,
    Pong,
    Refreshed,
    Reply,
    Standing,
    Subscribed,
    Unsubscribed,
)
from fastws.vocabulary.values import timestamp

ACCESS_DENIED: Final = "Access denied to room"
# The `type` of deliveries if the publisher gave none, by the part of the room's name before the colon.
TYPE_OF_KIND: Final[Mapping[str, str]] = {
    "execution": "execution_update",
    "workflow": "workflow_update",
    "user": "notification",
}
DEFAULT_TYPE: Final = "message"
_REFUSALS: Final = frozenset({"forbidden", "unauthorized"})


class Rooms(SingleRequestDialect):
    """Spec 3.2. A room is a channel. The token decides which rooms a client may subscribe to, not the dialect."""

    name = "rooms"
    needs_token = True

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        if identity is None:
            raise Unauthorized("a token is required")
        return StartingChannels(channels=(f"user:{identity.user}",), wanted=wanted(query))

    def parse(self, message: object) -> Command:
        return parse_by_type(message, _PARSERS, example='{"type":"subscribe","room_id":"execution:1"}')

    def reply(self, reply: Reply, starting: StartingChannels) -> Message | None:
        renderer = _RENDERERS.get(type(reply))
        return None if renderer is None else renderer(reply)

    def delivery(self, publication: Publication) -> Message:
        message: Message = {
            "type": publication.type or type_of_room(publication.channel),
            "event": publication.event,
            "data": publication.data,
            "timestamp": timestamp_of(publication.timestamp),
        }
        if publication.channel.startswith(MAILBOX_PREFIX):
            message["channel"] = publication.channel
        elif publication.offset is not None:
            message["room_id"] = publication.channel
        if publication.offset is not None:
            message["offset"] = publication.offset
        return message


def type_of_room(room: str) -> str:
    """Return the default `type` of publications in `room`."""
    kind, colon, _ = room.partition(":")
    return TYPE_OF_KIND.get(kind, DEFAULT_TYPE) if colon else DEFAULT_TYPE


def _room_of(message: Message) -> str:
    return check_channel_name(message.get("room_id"), field="room_id")


_PARSERS: Final[Mapping[str, Parser]] = {
    "subscribe": lambda message: Subscribe(_room_of(message), past_of(message)),
    "unsubscribe": lambda message: Unsubscribe(_room_of(message)),
    "history": history_parser(_room_of),
    "presence": presence_parser(_room_of),
    "ping": parse_ping,
    "refresh": parse_refresh,
}


def _subscription(event: str, room: str, standing: Standing | None = None) -> Message:
    position = standing_fields(standing)
    return {"type": "subscription", "event": event, "room_id": room, **position, "timestamp": timestamp()}


def _connected(reply: Connected) -> Message:
    return {
        "type": "connection",
        "event": "connected",
        "connection_id": reply.connection_id,
        **standing_fields(reply.standing),
        **client_field(reply.mailbox),
        "timestamp": timestamp(),
    }


def _failure(reply: Failure) -> Message:
    if reply.channel is None:
        return {"type": "error", "message": reply.message}
    # The text of the seed, the same for rooms that do not exist and rooms without permission.
    text = ACCESS_DENIED if reply.code in _REFUSALS else reply.message
    return {"type": "error", "message": text, "room_id": reply.channel}


def _history(reply: HistoryPage) -> Message:
    page = page_fields(reply, ROOMS.delivery)
    return {"type": "history", "room_id": reply.channel, **page, "timestamp": timestamp()}


def _presence(event: str, room: str, fields: Message) -> Message:
    return {"type": "presence", "event": event, "room_id": room, **fields, "timestamp": timestamp()}


_RENDERERS: Final[Mapping[type, Callable[..., Message]]] = {
    Connected: _connected,
    Subscribed: lambda reply: _subscription("subscribed", reply.channel, reply.standing),
    Unsubscribed: lambda reply: _subscription("unsubscribed", reply.channel),
    Left: lambda reply: {**_subscription("unsubscribed", reply.channel), "reason": ACCESS_DENIED},
    Pong: lambda reply: {"type": "pong", "timestamp": timestamp()},
    Failure: _failure,
    Gap: lambda reply: {"type": "gap", "room_id": reply.channel, **position_fields(reply.position)},
    HistoryPage: _history,
    PresencePage: lambda reply: _presence("members", reply.channel, presence_fields(reply)),
    PresenceUpdate: lambda reply: _presence("update", reply.channel, update_fields(reply)),
    Lag: lambda reply: {"type": "lag", "room_id": reply.channel, "dropped": reply.dropped},
    Refreshed: lambda reply: {"type": "refreshed", "expires": int(reply.expires)},
}

ROOMS: Final = Rooms()
