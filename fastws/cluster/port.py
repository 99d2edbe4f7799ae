"""All processes of an installation as one: what endpoints and sessions ask, whether there is a Redis or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fastws.hub.ports import Receipt
from fastws.vocabulary.publication import Publication


@dataclass(slots=True, frozen=True)
class Totals:
    """Figures over all processes."""

    connections: int
    channels: list[str]


class Cluster(Protocol):
    """All processes as one. cluster/one_process.py: this one; with Redis: what their registry says."""

    async def totals(self) -> Totals:
        """Connections and the names of channels with subscribers, over all processes."""
        ...

    async def connections_of(self, user: str) -> int:
        """How many connections `user` has, over all processes."""
        ...

    async def dialect_connections(self, dialect: str) -> int:
        """How many clients of `dialect` there are, over all processes."""
        ...

    async def page(
        self, *, user: str | None, channel: str | None, cursor: str | None, limit: int
    ) -> tuple[list[dict[str, object]], str | None]:
        """Connections in the order of their ids, from after `cursor`; and the cursor of the next page."""
        ...

    async def describe(self, connection_id: str) -> dict[str, object] | None:
        """One connection; None if there is none of that id."""
        ...

    async def close(self, connection_id: str) -> bool:
        """Close a connection with 1000. Returns whether there was one."""
        ...

    def send(self, connection_id: str, publication: Publication, receipt: Receipt) -> None:
        """Send to one connection wherever it is; `receipt` hears (1, 0), (0, 1) queue full, or (0, 0) gone."""
        ...

    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None:
        """`body` verbatim as one message to a connection wherever it is; `receipt` hears the same as of `send`."""
        ...

    async def revoke(self, *, token_id: str | None, user: str | None, expires_at: float | None = None) -> None:
        """Revoke on every process. `expires_at` is the token's own `exp`, where it is known."""
        ...

    async def reserve(self, message_id: str) -> Mapping[str, int] | None:
        """Be the first to publish under this id, on any process: None, and then call `record_outcome` or `leave`.

        Otherwise how the first try ended (see `record_outcome`), in the last 5 minutes; a try under way is waited for.
        Raises Unavailable where that takes too long, BrokerUnavailable.
        """
        ...

    def publishing(self, message_id: str) -> None:
        """What the caller publishes next, without waiting for anything before, goes out under this id."""
        ...

    def leave(self, message_id: str) -> None:
        """How the publication under this id ends is not known: it may have been made, and is not made again."""
        ...

    async def record_outcome(self, message_id: str, outcome: Mapping[str, int] | None) -> None:
        """The publication under this id ended so; None: it was not published, and the next may try. Never raises."""
        ...
