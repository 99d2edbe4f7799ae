"""What every connection of a server shares: limits, hub, broker, access, counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from fastws.access.authorizer import Authorizer
from fastws.access.permissions import Permissions
from fastws.access.revocation import Revocations
from fastws.access.tokens import Tokens
from fastws.config import Config
from fastws.connection.journal import Journal
from fastws.connection.outbox import Bounds
from fastws.connection.wireform import DialectForm
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker, Receipt
from fastws.hub.roster import Roster
from fastws.metrics import Counters
from fastws.vocabulary.publication import Publication

if TYPE_CHECKING:
    from fastws.connection.delivery import Delivery
    from fastws.connection.heartbeat import Heartbeat
    from fastws.connection.hook import EventHook
    from fastws.connection.protocol import Connection
    from fastws.connection.session import Session

log = structlog.stdlib.get_logger("fastws.connection")

ACK_CACHE_SIZE = 1024

SendElsewhere = Callable[[str, Publication, Receipt], None]
MetricsSource = Callable[[str, str, Callable[[object], None]], None]


@dataclass(slots=True, kw_only=True)
class Limits:
    """Bounds of one connection, from the settings of the same names."""

    message_bytes: int
    fragments: int
    channels: int
    # Of the whole process, unlike the others.
    total_channels: int
    outbox: Bounds
    message_rate: float
    message_burst: int
    idle_seconds: float
    ping_seconds: float

    @classmethod
    def of(cls, config: Config) -> Limits:
        """The bounds that `config` sets."""
        return cls(
            message_bytes=config.max_message_bytes,
            fragments=config.max_fragments,
            channels=config.max_channels_per_connection,
            total_channels=config.max_channels,
            outbox=Bounds(config.max_queue_messages, config.max_queue_bytes),
            message_rate=config.message_rate,
            message_burst=config.message_burst,
            idle_seconds=config.idle_timeout,
            ping_seconds=config.ping_interval,
        )


@dataclass(slots=True, kw_only=True)
class Context:
    """Everything a connection needs of its server. One object per process."""

    limits: Limits
    hub: Hub
    broker: Broker
    roster: Roster
    counters: Counters
    permissions: Permissions
    tokens: Tokens
    revocations: Revocations
    authorizer: Authorizer | None
    heartbeat: Heartbeat
    # Sends to a connection of another process; the receipt hears how it ended.
    send_elsewhere: SendElsewhere
    # (workspace channel, metric type, answer) of `request_metrics`.
    metrics_source: MetricsSource
    journal: Journal
    # Told of every connection, where the application has one.
    hook: EventHook | None = None
    # Told of every connection that is gone.
    left: Callable[[Connection], None] = lambda _: None
    # What several channels say to one client in one flush, to be written together.
    gathered: dict[Delivery, list[bytes]] = field(default_factory=dict)
    corked: list[Session] = field(default_factory=list)
    acks: dict[tuple[DialectForm, str | None, str | None, int, int], tuple[bytes, dict[str, object]]] = field(
        default_factory=dict
    )

    def settle(self) -> None:
        """Write what a flush has left to be written together: first what was gathered, then the replies to sends."""
        if self.gathered:
            self._write_gathered()
        if self.corked:
            self.uncork()

    def _write_gathered(self) -> None:
        """One write for each client, however many of its channels said something; equal ones share the bytes."""
        gathered, self.gathered = self.gathered, {}
        joined: dict[tuple[int, ...], bytes] = {}
        for delivery, pieces in gathered.items():
            key = tuple(map(id, pieces))
            data = joined.get(key)
            if data is None:
                data = joined[key] = b"".join(pieces)
            try:
                if not delivery.transport.is_closing():
                    delivery.transport.write(data)
            except Exception:
                log.exception("error of ours", connection=delivery.session.connection.id)

    def uncork(self) -> None:
        """Write the replies that a flush has settled, together for each client."""
        corked = self.corked
        while corked:
            sessions = corked[:]
            corked.clear()
            for session in sessions:
                try:
                    session.uncork()
                except Exception:
                    log.exception("error of ours", connection=session.connection.id)
