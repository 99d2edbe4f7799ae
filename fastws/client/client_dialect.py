"""Properties of the server's dialects that a client depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fastws.client.formats import Message
from fastws.client.subscriptions import ChannelSubscriptions, EventSubscriptions, JobSubscriptions, Subscriptions
from fastws.errors import (
    BadRequest,
    BrokerUnavailable,
    FastWSError,
    Forbidden,
    RateLimited,
    TooLarge,
    TooManyChannels,
    Unauthorized,
    Unavailable,
    Unrecoverable,
)

NOTICES: Final = frozenset({"gap", "lag", "error", "disconnected", "reconnected"})
# The default name of the jobs feed on the server, and the reply with which the server confirms its filter.
JOBS_FEED: Final = "botrix:jobs:updates"
FEED_JOINED: Final = "subscribed"
ACCESS_DENIED: Final = "Access denied to room"
ERRORS: Final[Mapping[str, type[FastWSError]]] = {
    kind.code: kind
    for kind in (
        BadRequest,
        Unauthorized,
        Forbidden,
        RateLimited,
        TooManyChannels,
        TooLarge,
        BrokerUnavailable,
        Unrecoverable,
    )
}
# Errors that a second attempt would not change.
FINAL_ERRORS: Final = (BadRequest, Unauthorized, Forbidden, TooManyChannels, TooLarge)


@dataclass(slots=True, frozen=True)
class ClientDialect:
    """One dialect, seen from the client.

    `path` is where the server mounts it. `verb` is the key of a request that names the action, `type_key` the key of
    a message that names its type. `greeting` is the type of the first message, None if the server sends none. `left`
    are the fields of the notice that the server has unsubscribed this client.

    `channel_key` is the key of a delivery that names its channel. `home` is the name, or the beginning of the name, of
    the channel that the server joins each client to; None: none. With `has_filter` that is the only channel, the
    subscriptions are a filter of it, and the query of the upgrade has both its position and its filter.
    """

    name: str
    path: str
    verb: str
    type_key: str
    greeting: str | None
    subscriptions: Callable[[], Subscriptions]
    left: Mapping[str, str] | None = None
    channel_key: str = "channel"
    home: str | None = None
    has_filter: bool = False

    def notice(self, kind: str, **fields: object) -> Message:
        """A notice of the client itself, in the format of the dialect."""
        return {self.type_key: kind, **fields}

    def is_error(self, message: Message) -> bool:
        return message.get(self.type_key) == "error" and "data" not in message

    def is_notice(self, message: Message) -> bool:
        """Whether `message` is about the connection itself. All else that is not a reply is an ordinary message."""
        return "data" not in message and (message.get(self.type_key) in NOTICES or self.is_left(message))

    def is_presence_update(self, message: Message) -> bool:
        """Whether `message` is an update of the members of a channel."""
        if "data" in message or "count" not in message:
            return False
        kind = message.get(self.type_key)
        # Only rooms have one type for answers and updates.
        return kind == "presence_update" or (kind == "presence" and message.get("event") == "update")

    def is_left(self, message: Message) -> bool:
        """Whether `message` says that the server has unsubscribed this client because its new token allows less."""
        if self.left is None or "reason" not in message or "data" in message:
            return False
        return all(message.get(key) == value for key, value in self.left.items())

    def is_final(self, error: FastWSError, *, was_confirmed: bool) -> bool:
        """Whether a subscription that was refused with `error` would be refused again.

        Only the channels dialect has error codes. In the others a subscription that was confirmed before is retried.
        """
        if isinstance(error, FINAL_ERRORS):
            return True
        return self.name != "channels" and not was_confirmed and not isinstance(error, Unavailable)

    def error_of(self, reply: Message) -> FastWSError:
        """The exception for an error reply. Dialects without error codes distinguish only a denied room."""
        text = str(reply.get("message", "refused, and the server gave no reason"))
        if "code" not in reply and text == ACCESS_DENIED:
            return Forbidden(f"{text}: the token's `channels` do not allow {reply.get('room_id')}")
        return ERRORS.get(str(reply.get("code")), FastWSError)(text)


CLIENT_DIALECTS: Final[Mapping[str, ClientDialect]] = {
    dialect.name: dialect
    for dialect in (
        ClientDialect(
            "channels",
            "/",
            "action",
            "type",
            "connection_id",
            lambda: ChannelSubscriptions("action", "channel"),
            {"type": "unsubscribe_succeeded"},
        ),
        ClientDialect(
            "rooms",
            "/api/v1/ws",
            "type",
            "type",
            "connection",
            lambda: ChannelSubscriptions("type", "room_id"),
            {"type": "subscription", "event": "unsubscribed"},
            channel_key="room_id",
            home="user:",
        ),
        ClientDialect(
            "workspaces",
            "/ws",
            "type",
            "event",
            "connected",
            EventSubscriptions,
            home="workspace:",
            has_filter=True,
        ),
        ClientDialect("jobs", "/ws", "type", "type", None, JobSubscriptions, home=JOBS_FEED, has_filter=True),
    )
}


def find_client_dialect(name: str) -> ClientDialect:
    """The dialect called `name`. Raises BadRequest."""
    if name not in CLIENT_DIALECTS:
        raise BadRequest(f"`dialect` must be one of {', '.join(CLIENT_DIALECTS)}, not {name!r}")
    return CLIENT_DIALECTS[name]


def check_names(names: Iterable[str]) -> list[str]:
    """`names` as a list. Raises BadRequest for a string, which is easily mistaken for a list of one name."""
    if isinstance(names, str):
        raise BadRequest(f"`channels` must be a list of names, not a string: [{names!r}]")
    return list(names)
