"""Protocols through which a session uses its connection and services of the server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from fastws.errors import FastWSError
from fastws.hub.ports import Member
from fastws.vocabulary.publication import Publication

if TYPE_CHECKING:
    from fastws.session.session import Message, Session

# Runs a coroutine as a background task, which is cancelled when the server stops.
Spawn = Callable[[Coroutine[None, None, None]], None]


class Peer(Member, Protocol):
    """One client's connection as its session sees it."""

    @property
    def is_gone(self) -> bool:
        """Whether it is closed or closing: nothing more is sent."""
        ...

    @property
    def is_crowded(self) -> bool:
        """Whether the client has so many unread replies that the server stops reading from it."""
        ...

    @property
    def is_writable(self) -> bool:
        """Whether the client's outbox is empty, so that data goes straight to its socket."""
        ...

    @property
    def channel_names(self) -> list[str]:
        """The channels that the client is subscribed to."""
        ...

    def process(self, messages: Sequence[Message]) -> None:
        """Pass messages of the backlog to the session; an unexpected exception closes the connection."""
        ...

    def write_control(self, frames: bytes) -> None:
        """Write replies, pongs and closes, which are never dropped."""
        ...

    def replay(self, frames: Iterator[bytes], channel: str) -> None:
        """Write `frames` of the past of `channel` as the client reads, before anything newer, outside the bounds."""
        ...

    def hold(self) -> None:
        """Let everything wait in the queue, within its bounds, until `release`."""
        ...

    def release(self, opening: list[bytes]) -> None:
        """Write the frames of `opening`, then what has waited since `hold`."""
        ...

    def deliver(self, frame: bytes, publication: Publication) -> bool:
        """Write a publication for this client only. Returns False if its queue is full."""
        ...

    def control(self, opcode: int, payload: bytes) -> None:
        """Answer a control frame of the client."""
        ...

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        ...

    def resume_reading(self) -> None:
        """Read from the client again, unless something else still pauses it."""
        ...

    def fail(self, error: FastWSError) -> None:
        """Close the connection because the client violated the protocol."""
        ...

    def expire(self) -> None:
        """Close with 4401 because the token has expired."""
        ...

    def end(self, code: int, reason: str, *, label: str) -> None:
        """Close with `code`; `label` is the reason in metrics."""
        ...


class ReplyBatch(Protocol):
    """The sessions whose replies are written together after a flush of the tick."""

    corked: list[Session]

    def uncork(self) -> None:
        """Write the replies of all corked sessions now."""
        ...


class ExpiryWatch(Protocol):
    """Closes connections when their token expires."""

    def watch_expiry(self, peer: Peer, expires_at: float) -> None:
        """Close `peer` with 4401 at `expires_at` (seconds since the epoch). A later call replaces the time."""
        ...
