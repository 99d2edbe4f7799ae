"""The interface of dialects, the client protocols of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fastws.codec.codec import Codec
from fastws.vocabulary.commands import Request, RequestId
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import Mailbox
from fastws.vocabulary.positions import Past
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply


@dataclass(slots=True, frozen=True)
class Wanted:
    """Requests of a client for its first channel: the `past` to replay, and a `filter` from the start."""

    past: Past = None
    filter: Filter | None = None


@dataclass(slots=True, frozen=True)
class StartingChannels:
    """The channels that a client is subscribed to when it connects, and its workspace.

    `home` is the channel to which `ChangeFilter` applies, or None if the dialect has no filters. `wanted` is None if
    the client wants nothing in particular.
    """

    channels: tuple[str, ...] = ()
    home: str | None = None
    workspace: str | None = None
    wanted: Wanted | None = None

    @property
    def mailbox(self) -> Mailbox | None:
        """The mailbox of the client's id; None without a client id."""
        return None


@dataclass(slots=True, frozen=True, kw_only=True)
class StartingMailbox(StartingChannels):
    """The same for a client with a client id. A class of its own, so that other clients need no memory for it."""

    own_mailbox: Mailbox

    @property
    def mailbox(self) -> Mailbox | None:
        """The mailbox of the client's id."""
        return self.own_mailbox


class Dialect(Protocol):
    """A client protocol, without state and I/O: all data that a method needs is in its arguments.

    To add a dialect, implement this interface in a new file and add it to dialects/mount.py.
    """

    @property
    def name(self) -> str:
        """The name in settings, metrics and `/connections`."""
        ...

    @property
    def needs_token(self) -> bool:
        """Whether upgrades without a token are always refused with 401, regardless of settings."""
        ...

    @property
    def ping(self) -> bytes | None:
        """The message that checks whether a client is alive, or None for a ping frame (RFC 6455 section 5.5.2)."""
        ...

    @property
    def reserved_events(self) -> frozenset[str]:
        """Events that clients may not publish, because clients of this dialect could not recognize a forged one."""
        ...

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        """Return the starting channels. Raises Unauthorized or Forbidden if the token is missing or allows none."""
        ...

    def requests(self, opcode: int, payload: bytes, codec: Codec) -> tuple[Request, ...]:
        """Parse one message (a frame of `opcode`) into requests, each with its own id.

        An invalid request has an error instead of a command, which names the fault and what is expected. Raises
        InvalidPayload or InvalidText if the message cannot be decoded.
        """
        ...

    def reply(self, reply: Reply, starting: StartingChannels) -> dict[str, object] | None:
        """Convert `reply` to a message without the id of the request, or to None if the dialect has no such reply."""
        ...

    def with_id(self, message: Mapping[str, object], request_id: RequestId) -> Mapping[str, object]:
        """Return the reply `message` with the id of its request."""
        ...

    def delivery(self, publication: Publication) -> dict[str, object]:
        """Convert `publication` to the message that all subscribers of this dialect receive."""
        ...

    def reserves(self, channel: str) -> bool:
        """Whether clients may not publish `reserved_events` on `channel`."""
        ...


class DialectDefaults:
    """The parts that are the same in most dialects."""

    ping: bytes | None = None
    reserved_events: frozenset[str] = frozenset()

    def with_id(self, message: Mapping[str, object], request_id: RequestId) -> Mapping[str, object]:
        """Return `message` with the `id` of its request."""
        return {**message, "id": request_id}

    def reserves(self, channel: str) -> bool:
        """Reserve nothing."""
        return False
