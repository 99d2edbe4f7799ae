"""The interface of dialects, the client protocols of the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastws.codec.codec import Codec
from fastws.errors import Dismissed
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

    @property
    def user(self) -> str | None:
        """The user as whom the client has signed in, where that is not by a token."""
        return None

    @property
    def dismissal(self) -> Dismissed | None:
        """Why the connection is closed right after the upgrade; None if it stays."""
        return None

    @property
    def is_proven(self) -> bool:
        """Whether the client has proved who it is."""
        return True

    @property
    def deadline_seconds(self) -> float:
        """Time in which the client must prove who it is, or it is closed as with an expired token; 0: no limit."""
        return 0.0


@dataclass(slots=True, frozen=True, kw_only=True)
class StartingMailbox(StartingChannels):
    """The same for a client with a client id. A class of its own, so that other clients need no memory for it."""

    own_mailbox: Mailbox

    @property
    def mailbox(self) -> Mailbox | None:
        """The mailbox of the client's id."""
        return self.own_mailbox


@dataclass(slots=True, frozen=True)
class Parting:
    """How a connection is closed: with `code` and `reason`, after `message` if there is one."""

    code: int
    reason: str
    message: Mapping[str, object] | None = None


class IdScheme(Protocol):
    """Connection ids of another form than those of vocabulary/connection_ids.py."""

    def of(self, node_id: str) -> Iterator[str]:
        """Yield ids of connections of this node without end."""
        ...

    def node_of(self, connection_id: str) -> str | None:
        """Return the id of the node that has this connection; None for an id of another form."""
        ...


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
    def has_own_access(self) -> bool:
        """Whether the dialect itself decides who may connect and subscribe: tokens are ignored, JSON is the codec."""
        ...

    @property
    def realm(self) -> str | None:
        """The id of the app that all its clients belong to; None in dialects without apps."""
        ...

    @property
    def id_scheme(self) -> IdScheme | None:
        """The form of connection ids; None for that of the other dialects."""
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

    @property
    def max_connections(self) -> int:
        """Maximum number of connections of its realm, over all processes; 0: no limit."""
        ...

    def admit_when_full(self) -> StartingChannels:
        """Return the start of a client that finds `max_connections` connections."""
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

    def parting(self, code: int, reason: str, label: str) -> Parting:
        """Return how to close a connection for which other dialects use `code`; `label` is the reason in metrics."""
        ...

    def reserves(self, channel: str) -> bool:
        """Whether clients may not publish `reserved_events` on `channel`."""
        ...


class DialectDefaults:
    """The parts that are the same in most dialects."""

    has_own_access = False
    max_connections = 0
    realm: str | None = None
    id_scheme: IdScheme | None = None
    ping: bytes | None = None
    reserved_events: frozenset[str] = frozenset()

    def with_id(self, message: Mapping[str, object], request_id: RequestId) -> Mapping[str, object]:
        """Return `message` with the `id` of its request."""
        return {**message, "id": request_id}

    def admit_when_full(self) -> StartingChannels:
        """Without a limit, nobody is refused."""
        return StartingChannels()

    def parting(self, code: int, reason: str, label: str) -> Parting:
        """Close as the server says."""
        return Parting(code, reason)

    def reserves(self, channel: str) -> bool:
        """Reserve nothing."""
        return False
