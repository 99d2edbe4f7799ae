"""What the hub needs from the rooms above it, as protocols: members, wire forms, brokers, receipts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from fastws.errors import FastWSError
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply

if TYPE_CHECKING:
    from fastws.hub.channel import Audience, Chunk


class Verdict(IntEnum):
    """What became of a chunk that a member could not take at once."""

    HELD = 0  # waits in the outbox, to be written as soon as the client reads
    REFUSED = 1  # not taken: counted, and told to the client when it reads again
    SLOW = 2  # over the bound and the policy is to disconnect


class WireForm(Protocol):
    """Dialect + codec (+ compression): the one way in which a set of subscribers reads a publication."""

    def frame(self, publication: Publication) -> bytes:
        """The WebSocket frame of `publication`. Raises Unencodable where this form cannot say it."""
        ...


class Member(Protocol):
    """One client as the hub sees it."""

    id: str
    # Every audience this member is in. A tuple: most members are in one or two, and an empty set costs 216 B.
    audiences: tuple[Audience, ...]
    # Takes bytes to the socket. Truthy: others wait before it, nothing was taken, use `hold`.
    send: Callable[[bytes], object]

    def enqueue(self, chunk: Chunk) -> Verdict:
        """Keep `chunk` for when the client reads again, within its bounds and by the channel's policy."""
        ...

    def apply_backpressure(self, senders: Collection[str]) -> None:
        """If this client's socket has not taken all it was given, `senders` are to wait for it a little."""
        ...

    def notify(self, reply: Reply) -> None:
        """Tell this client something it did not ask for (a gap), in its dialect's words."""
        ...

    def cut_off(self, channel: str) -> None:
        """Close this client as a slow consumer of `channel` (spec 6: 1013)."""
        ...


class Receipt(Protocol):
    """Who wants to know how a publication ended."""

    def done(self, sent: int, failed: int) -> None:
        """It was handed to `sent` subscribers; the queues of `failed` refused it."""
        ...

    def refused(self, error: FastWSError) -> None:
        """It was not published at all."""
        ...


class Broker(Protocol):
    """Takes publications to every process that has subscribers. brokers/memory.py: only this one."""

    def publish(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """Publish. Returns at once and never raises; `receipt` hears how it ended."""
        ...

    def listen(self, channel: str, ready: Callable[[], None]) -> None:
        """The first local subscriber of `channel` is coming: call `ready` once what is published there arrives here."""
        ...

    def unlisten(self, channel: str) -> None:
        """The last local subscriber of `channel` has left."""
        ...


class Deliverer(Protocol):
    """The hub seen from a broker: everything that is published enters here, and nowhere else."""

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """Hand `publication` to the local subscribers of its channel; `receipt` hears how many took it."""
        ...

    def gap(self, channel: str) -> None:
        """Tell the subscribers of `channel`, before anything newer, that they may have missed something."""
        ...

    def count(self, channel: str) -> int:
        """How many local subscribers `channel` has."""
        ...
