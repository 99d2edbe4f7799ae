"""The contract of a dialect: how one kind of client writes and reads what every client can say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastws.codec.codec import Codec
from fastws.vocabulary.commands import Request, RequestId
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply


@dataclass(slots=True, frozen=True)
class StartingChannels:
    """The channels a client joins at its upgrade, and its workspace.

    `home` is the channel that `ChangeFilter` narrows (None: this dialect has no filters).
    """

    channels: tuple[str, ...] = ()
    home: str | None = None
    workspace: str | None = None


class Dialect(Protocol):
    """One client protocol. No state, no I/O: everything a method needs is in its arguments.

    A new dialect is one file with this contract and one line in dialects/mount.py.
    """

    @property
    def name(self) -> str:
        """Its name in settings, metrics and `/connections`."""
        ...

    @property
    def needs_token(self) -> bool:
        """Whether an upgrade without a token is refused with 401 whatever the settings."""
        ...

    @property
    def ping(self) -> bytes | None:
        """The message that tests whether a silent client is alive; None: a ping frame (RFC 6455 section 5.5.2)."""
        ...

    @property
    def reserved_events(self) -> frozenset[str]:
        """Events that only the server sends, because clients of this dialect could not tell a forgery."""
        ...

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        """The channels a client joins at its upgrade. Raises Forbidden where its token allows none (spec 3.3)."""
        ...

    def requests(self, opcode: int, payload: bytes, codec: Codec) -> Iterable[Request]:
        """The requests in one message (a frame of `opcode`), each with its own id.

        A request that is wrong comes with its error, which names what is wrong and what would be right. Raises
        InvalidPayload or InvalidText for a message that cannot be decoded at all.
        """
        ...

    def reply(self, reply: Reply, starting: StartingChannels) -> dict[str, object] | None:
        """`reply` as this dialect writes it, without the request's id; None: the dialect has no such reply."""
        ...

    def with_id(self, message: Mapping[str, object], request_id: RequestId) -> Mapping[str, object]:
        """`message`, a reply, with the id of the request that it answers."""
        ...

    def delivery(self, publication: Publication) -> dict[str, object]:
        """`publication` as every subscriber of this dialect receives it."""
        ...

    def reserves(self, channel: str) -> bool:
        """Whether clients may not publish `reserved_events` on `channel`."""
        ...
