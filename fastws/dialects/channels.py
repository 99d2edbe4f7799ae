"""The channels dialect (seeds 000 and 004): clients subscribe to channels and publish to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastws.dialects.client_ids import client_field
from fastws.dialects.dialect import StartingChannels
from fastws.dialects.fields import SingleRequestDialect, parse_ping, parse_refresh
from fastws.dialects.history import history_parser, offset_field, page_fields, past_of, position_fields, standing_fields
from fastws.dialects.presence import presence_fields, presence_parser, update_fields
from fastws.errors import BadRequest, UnknownAction
from fastws.vocabulary.channels import check_channel_name, is_channel_name
from fastws.vocabulary.commands import (
    Command,
    Send,
    SendDirect,
    Subscribe,
    Unsubscribe,
)
from fastws.vocabulary.identity import Identity
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
    Sent,
    Subscribed,
    Unsubscribed,
)
from fastws.vocabulary.values import timestamp

MAX_EVENT_LENGTH: Final = 255
MAX_KEY_LENGTH: Final = 255
MAX_CONNECTION_ID_LENGTH: Final = 255
# `action` (or `type`), `channel`, `event` and `data`: with so many keys there are no options, which saves 0.2 µs.
PLAIN_SEND_KEYS: Final = 4
_NONE: Final = StartingChannels()


class Channels(SingleRequestDialect):
    """Spec 3.1. The command is in `action`, or in `type` if there is no `action`, as in the pings of the seeds."""

    name = "channels"
    needs_token = False

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        return _NONE

    def parse(self, message: object) -> Command:
        if not isinstance(message, dict):
            raise BadRequest('a message is an object such as {"action":"subscribe","channel":"news"}')
        action = message.get("action")
        if action is None:
            action = message.get("type")
        parser = _PARSERS.get(action) if isinstance(action, str) else None
        if parser is None:
            raise UnknownAction(_unknown_action_text(action))
        return parser(message)

    def reply(self, reply: Reply, starting: StartingChannels) -> dict[str, object] | None:
        renderer = _RENDERERS.get(type(reply))
        return None if renderer is None else renderer(reply)

    def delivery(self, publication: Publication) -> dict[str, object]:
        message: dict[str, object] = {}
        if publication.channel:
            message["channel"] = publication.channel
        message["event"] = publication.event
        message["data"] = publication.data
        if publication.sender is not None:
            message["from"] = publication.sender
        if publication.offset is not None:
            message["offset"] = publication.offset
        return message


def _unknown_action_text(action: object) -> str:
    known = ", ".join(sorted(_PARSERS))
    if action is None:
        return f"`action` is missing: one of {known}"
    if not isinstance(action, str):
        return f"`action` must be a string: one of {known}"
    return f"unknown action {action[:64]!r}: one of {known}"


def _subscribe(message: dict[str, object]) -> Command:
    return Subscribe(check_channel_name(message.get("channel")), past_of(message))


def _unsubscribe(message: dict[str, object]) -> Command:
    return Unsubscribe(check_channel_name(message.get("channel")))


def _send(message: dict[str, object]) -> Command:
    event = message.get("event")
    if not isinstance(event, str) or not 0 < len(event) <= MAX_EVENT_LENGTH:
        raise BadRequest(f"`event` must be a string of 1 to {MAX_EVENT_LENGTH} characters")
    channel = message.get("channel")
    if "connectionId" in message:
        return _send_direct(message, event, channel)
    if not is_channel_name(channel):
        check_channel_name(channel)
    if len(message) == PLAIN_SEND_KEYS and "data" in message:
        return Send(channel, event, message["data"])  # type: ignore[arg-type] # checked above
    exclude_self = message.get("exclude_self", False)
    if not isinstance(exclude_self, bool):
        raise BadRequest("`exclude_self` must be true or false")
    is_ephemeral = message.get("ephemeral", False)
    if not isinstance(is_ephemeral, bool):
        raise BadRequest("`ephemeral` must be true or false")
    key = message.get("key")
    # Limited, because the keys of queued frames are kept in memory.
    if key is not None and (not isinstance(key, str) or len(key) > MAX_KEY_LENGTH):
        raise BadRequest(f"`key` must be a string of at most {MAX_KEY_LENGTH} characters")
    data = message.get("data")
    return Send(channel, event, data, exclude_self, None, key, is_ephemeral)  # type: ignore[arg-type] # checked above


def _send_direct(message: dict[str, object], event: str, channel: object) -> Command:
    if channel is not None:
        raise BadRequest("send either to a `channel` or to a `connectionId`, not to both")
    connection_id = message["connectionId"]
    if not isinstance(connection_id, str) or not 0 < len(connection_id) <= MAX_CONNECTION_ID_LENGTH:
        raise BadRequest("`connectionId` must be a string: the connection_id of the recipient")
    return SendDirect(connection_id, event, message.get("data"))


_PARSERS: Final[Mapping[str, Callable[[dict[str, object]], Command]]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "send": _send,
    "ping": parse_ping,
    "refresh": parse_refresh,
    "history": history_parser(lambda message: check_channel_name(message.get("channel"))),
    "presence": presence_parser(lambda message: check_channel_name(message.get("channel"))),
}


def _sent(reply: Sent) -> dict[str, object]:
    if reply.connection_id is not None:
        return {
            "type": "send_success",
            "connectionId": reply.connection_id,
            "sent": reply.sent,
            "failed": reply.failed,
        }
    return {
        "type": "send_success",
        "channel": reply.channel,
        "sent": reply.sent,
        "failed": reply.failed,
        **offset_field(reply.position),
    }


def _failure(reply: Failure) -> dict[str, object]:
    message: dict[str, object] = {"type": "error", "code": reply.code, "message": reply.message}
    if reply.channel is not None:
        message["channel"] = reply.channel
    return message


def _history(reply: HistoryPage) -> dict[str, object]:
    return {"type": "history", "channel": reply.channel, **page_fields(reply, CHANNELS.delivery)}


_RENDERERS: Final[Mapping[type, Callable[..., dict[str, object]]]] = {
    Connected: lambda reply: {
        "type": "connection_id",
        "connection_id": reply.connection_id,
        **client_field(reply.mailbox),
    },
    Subscribed: lambda reply: {
        "type": "subscription_succeeded",
        "channel": reply.channel,
        **standing_fields(reply.standing),
    },
    Unsubscribed: lambda reply: {"type": "unsubscribe_succeeded", "channel": reply.channel},
    Sent: _sent,
    Pong: lambda reply: {"type": "pong", "timestamp": timestamp()},
    Failure: _failure,
    Gap: lambda reply: {"type": "gap", "channel": reply.channel, **position_fields(reply.position)},
    HistoryPage: _history,
    PresencePage: lambda reply: {"type": "presence", "channel": reply.channel, **presence_fields(reply)},
    PresenceUpdate: lambda reply: {"type": "presence_update", "channel": reply.channel, **update_fields(reply)},
    Lag: lambda reply: {"type": "lag", "channel": reply.channel, "dropped": reply.dropped},
    Refreshed: lambda reply: {"type": "refreshed", "expires": int(reply.expires)},
    Left: lambda reply: {"type": "unsubscribe_succeeded", "channel": reply.channel, "reason": "forbidden"},
}

CHANNELS: Final = Channels()
