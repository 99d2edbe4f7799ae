"""How each dialect of the server is spoken and heard by a client of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fastws.client.formats import Message
from fastws.client.wishes import ChannelWishes, EventWishes, JobWishes, Wishes
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
)

NOTICES: Final = frozenset({"gap", "lag", "error", "disconnected", "reconnected"})
ACCESS_DENIED: Final = "Access denied to room"
ERRORS: Final[Mapping[str, type[FastWSError]]] = {
    kind.code: kind
    for kind in (BadRequest, Unauthorized, Forbidden, RateLimited, TooManyChannels, TooLarge, BrokerUnavailable)
}
# What a reply may mean that will not change by asking again.
FOR_GOOD: Final = (BadRequest, Unauthorized, Forbidden, TooManyChannels, TooLarge)


@dataclass(slots=True, frozen=True)
class Grammar:
    """One dialect from the client's side.

    `path` is where the server mounts it, `verb` the key that says what a request wants, `word` the one that says
    what a message of the server is, `hello` the word of its first message (None: there is none), `left` what marks
    the notice that the server has unsubscribed this client by itself.
    """

    name: str
    path: str
    verb: str
    word: str
    hello: str | None
    wishes: Callable[[], Wishes]
    left: Mapping[str, str] | None = None

    def notice(self, kind: str, **fields: object) -> Message:
        """A notice of the client's own, in the dialect's words."""
        return {self.word: kind, **fields}

    def is_error(self, message: Message) -> bool:
        return message.get(self.word) == "error" and "data" not in message

    def is_notice(self, message: Message) -> bool:
        """Whether `message` tells of the connection itself. Whatever else answers no request is a message."""
        return "data" not in message and (message.get(self.word) in NOTICES or self.is_left(message))

    def is_left(self, message: Message) -> bool:
        """Whether the server says that it has unsubscribed this client (its new token allows less)."""
        if self.left is None or "reason" not in message or "data" in message:
            return False
        return all(message.get(key) == value for key, value in self.left.items())

    def is_for_good(self, error: FastWSError, *, was_confirmed: bool) -> bool:
        """Whether a subscription that was refused with `error` would be refused again.

        Only the channels dialect has codes that say so. In the others what was confirmed once is worth another try.
        """
        if isinstance(error, FOR_GOOD):
            return True
        return self.name != "channels" and not was_confirmed and not isinstance(error, Unavailable)

    def error_of(self, reply: Message) -> FastWSError:
        """The error that an error reply means; the dialects without codes tell only a denied room apart."""
        text = str(reply.get("message", "refused without a reason"))
        if "code" not in reply and text == ACCESS_DENIED:
            return Forbidden(f"{text}: the token's `channels` do not allow {reply.get('room_id')}")
        return ERRORS.get(str(reply.get("code")), FastWSError)(text)


GRAMMARS: Final[Mapping[str, Grammar]] = {
    grammar.name: grammar
    for grammar in (
        Grammar(
            "channels",
            "/",
            "action",
            "type",
            "connection_id",
            lambda: ChannelWishes("action", "channel"),
            {"type": "unsubscribe_succeeded"},
        ),
        Grammar(
            "rooms",
            "/api/v1/ws",
            "type",
            "type",
            "connection",
            lambda: ChannelWishes("type", "room_id"),
            {"type": "subscription", "event": "unsubscribed"},
        ),
        Grammar("workspaces", "/ws", "type", "event", "connected", EventWishes),
        Grammar("jobs", "/ws", "type", "type", None, JobWishes),
    )
}


def find_grammar(name: str) -> Grammar:
    """The grammar of the dialect `name`. Raises BadRequest."""
    if name not in GRAMMARS:
        raise BadRequest(f"`dialect` must be one of {', '.join(GRAMMARS)}, not {name!r}")
    return GRAMMARS[name]


def check_names(names: Iterable[str]) -> list[str]:
    """`names` as a list. Raises BadRequest for one text where a list of them belongs."""
    if isinstance(names, str):
        raise BadRequest(f"`channels` must be a list of names: [{names!r}]")
    return list(names)
