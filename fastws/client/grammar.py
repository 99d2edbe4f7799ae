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
)

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
    what a message of the server is, `hello` the word of its first message (None: there is none).
    """

    name: str
    path: str
    verb: str
    word: str
    hello: str | None
    wishes: Callable[[], Wishes]

    def notice(self, kind: str, **fields: object) -> Message:
        """A notice of the client's own, in the dialect's words."""
        return {self.word: kind, **fields}

    def is_error(self, message: Message) -> bool:
        return message.get(self.word) == "error" and "data" not in message

    def is_notice(self, message: Message) -> bool:
        """Whether a message that answers no request is something other than a delivery. Those have data."""
        return "data" not in message

    def is_left(self, message: Message) -> bool:
        """Whether the server says that it took this client off a channel (its new token allows less)."""
        return "reason" in message and "data" not in message

    def error_of(self, reply: Message) -> FastWSError:
        """The error that an error reply means; the dialects without codes tell only a denied room apart."""
        text = str(reply.get("message", "refused without a reason"))
        if "code" not in reply and text == ACCESS_DENIED:
            return Forbidden(f"{text}: the token's `channels` do not allow {reply.get('room_id')}")
        return ERRORS.get(str(reply.get("code")), FastWSError)(text)


GRAMMARS: Final[Mapping[str, Grammar]] = {
    grammar.name: grammar
    for grammar in (
        Grammar("channels", "/", "action", "type", "connection_id", lambda: ChannelWishes("action", "channel")),
        Grammar("rooms", "/api/v1/ws", "type", "type", "connection", lambda: ChannelWishes("type", "room_id")),
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
