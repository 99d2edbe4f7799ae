"""What every connection of a server shares: limits, hub, broker, access, counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastws.access.permissions import Permissions
from fastws.access.revocation import Revocations
from fastws.access.tokens import Tokens
from fastws.callouts.authorizer import Authorizer
from fastws.config import Config
from fastws.counters import Counters
from fastws.dialects.wire_form import DialectForm
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker, Receipt
from fastws.hub.roster import Roster
from fastws.transport.connection_log import ConnectionLog
from fastws.transport.outbox import Bounds
from fastws.vocabulary.publication import Publication

if TYPE_CHECKING:
    from fastws.callouts.event_hook import EventHook
    from fastws.session.session import Session
    from fastws.transport.heartbeat import Heartbeat
    from fastws.transport.websocket import Connection
    from fastws.transport.writer import Writer

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
class Services:
    """Everything a connection needs of its server. One object per process."""

    limits: Limits
    hub: Hub
    broker: Broker
    roster: Roster
    counters: Counters
    permissions: Permissions
    token_verifier: Tokens
    revocations: Revocations
    authorizer: Authorizer | None
    heartbeat: Heartbeat
    # Sends to a connection of another process; the receipt hears how it ended.
    send_elsewhere: SendElsewhere
    # (workspace channel, metric type, answer) of `request_metrics`.
    metrics_source: MetricsSource
    connection_log: ConnectionLog
    # Told of every connection, where the application has one.
    hook: EventHook | None = None
    # Told of every connection that is gone.
    left: Callable[[Connection], None] = lambda _: None
    # What several channels say to one client in one flush, to be written together.
    gathered: dict[Writer, list[bytes]] = field(default_factory=dict)
    corked: list[Session] = field(default_factory=list)
    acks: dict[tuple[DialectForm, str | None, str | None, int, int], tuple[bytes, dict[str, object]]] = field(
        default_factory=dict
    )

    def write_batched(self) -> None:
        """Write what a flush has left to be written together: first what was gathered, then the replies to sends."""
        if self.gathered:
            self._write_gathered()
        if self.corked:
            self.uncork()

    def _write_gathered(self) -> None:
        """One write for each client, however many of its channels said something; equal ones share the bytes."""
        gathered, self.gathered = self.gathered, {}
        joined: dict[tuple[int, ...], bytes] = {}
        for writer, pieces in gathered.items():
            key = tuple(map(id, pieces))
            data = joined.get(key)
            if data is None:
                data = joined[key] = b"".join(pieces)
            if not writer.transport.is_closing():
                writer.transport.write(data)

    def uncork(self) -> None:
        """Write the replies that a flush has settled, together for each client."""
        corked = self.corked
        while corked:
            sessions = corked[:]
            corked.clear()
            for session in sessions:
                session.uncork()
