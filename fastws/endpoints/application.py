"""What the endpoints need of their server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastws.access.broadcast_key import BroadcastKeys
from fastws.access.rate_limit import Bucket
from fastws.access.revocation import Revocations
from fastws.access.sigv4 import AwsCredentials
from fastws.access.tokens import Tokens
from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker, Receipt
from fastws.hub.roster import Roster
from fastws.vocabulary.identity import Identity
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

    async def revoke(self, *, token_id: str | None, user: str | None) -> None:
        """Revoke on every process."""
        ...

    async def reserve(self, message_id: str) -> Mapping[str, int] | None:
        """Be the first to publish under this id, on any process: None, and the caller must `settle` it.

        Otherwise how the first try ended (see `settle`), in the last 5 minutes; one that is under way is waited for.
        Raises Unavailable where that takes too long, BrokerUnavailable.
        """
        ...

    async def record_outcome(self, message_id: str, outcome: Mapping[str, int] | None) -> None:
        """The publication under this id ended so; None: it was not published, and the next may try. Never raises."""
        ...


class Status(Protocol):
    """What `/ready` asks."""

    @property
    def is_draining(self) -> bool: ...
    @property
    def is_full(self) -> bool: ...
    @property
    def is_broker_up(self) -> bool: ...


@dataclass(slots=True, kw_only=True)
class Application:
    """The parts of a server that its endpoints use."""

    hub: Hub
    broker: Broker
    roster: Roster
    counters: Counters
    cluster: Cluster
    status: Status
    tokens: Tokens
    revocations: Revocations
    broadcast_keys: BroadcastKeys
    aws_credentials: AwsCredentials
    broadcast_bucket: Bucket | None
    identify: Callable[[str | None], Identity]
    max_message_bytes: int
