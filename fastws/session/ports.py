"""What a session knows of the connection under it, and of what the server does for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Protocol

from fastws.errors import FastWSError
from fastws.hub.ports import Member
from fastws.vocabulary.publication import Publication

if TYPE_CHECKING:
    from fastws.session.session import Message, Session

# Runs a coroutine beside the loop; it ends with the server at the latest.
Spawn = Callable[[Coroutine[None, None, None]], None]


class Peer(Member, Protocol):
    """One client's connection as its session sees it."""

    @property
    def is_gone(self) -> bool:
        """Whether it is closed or closing: nothing more is sent."""
        ...

    @property
    def is_crowded(self) -> bool:
        """Whether the client has so many unread replies that nothing more is read from it."""
        ...

    @property
    def takes_at_once(self) -> bool:
        """Whether nothing waits for the client: what is written now goes to its socket."""
        ...

    @property
    def channel_names(self) -> list[str]:
        """The channels that it subscribes to."""
        ...

    def process(self, messages: Sequence[Message]) -> None:
        """Give messages that were kept back to the session again; its errors end the connection."""
        ...

    def write_control(self, frames: bytes) -> None:
        """Write replies, pongs and closes, which are never dropped."""
        ...

    def deliver(self, frame: bytes, publication: Publication) -> bool:
        """Write a publication for this client alone. Returns whether its queue took it."""
        ...

    def control(self, opcode: int, payload: bytes) -> None:
        """Answer a control frame that the client sent."""
        ...

    def stop_reading(self) -> None:
        """Read nothing more for now."""
        ...

    def go_on_reading(self) -> None:
        """Read again, unless something else still holds it up."""
        ...

    def fail(self, error: FastWSError) -> None:
        """Close because the client broke the protocol."""
        ...

    def expire(self) -> None:
        """Close with 4401: the token has expired."""
        ...

    def end(self, code: int, reason: str, *, label: str) -> None:
        """Close with `code`; `label` is the reason in metrics."""
        ...


class ReplyBatch(Protocol):
    """Sessions whose replies are written together when the tick has flushed."""

    corked: list[Session]

    def uncork(self) -> None:
        """Write the replies of all corked sessions now."""
        ...


class ExpiryWatch(Protocol):
    """Closes connections whose token has expired."""

    def watch_expiry(self, peer: Peer, expires_at: float) -> None:
        """Close `peer` with 4401 at `expires_at` (seconds since the epoch); a later time replaces the one before."""
        ...
