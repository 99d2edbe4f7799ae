"""The lifecycle of connections: informs the rest of the server of each opened, closed and gone connection, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.admission.gate import Gate
from fastws.callouts.event_hook import EventHook
from fastws.counters import Counters
from fastws.errors import FastWSError
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.transport.connection_log import ConnectionLog

if TYPE_CHECKING:
    from fastws.transport.heartbeat import Heartbeat
    from fastws.transport.websocket import Connection

# First close code that applications may define (RFC 6455 section 7.4.2).
FIRST_OWN_CODE = 3000


class Lifecycle:
    """Informs the roster, hub, admission, counters, log, event hook and heartbeat."""

    __slots__ = ("_counters", "_gate", "_heartbeat", "_hub", "_roster", "hook", "log")

    def __init__(
        self,
        *,
        gate: Gate,
        hub: Hub,
        roster: Roster,
        counters: Counters,
        heartbeat: Heartbeat,
        log: ConnectionLog,
        hook: EventHook | None,
    ) -> None:
        self._gate = gate
        self._hub = hub
        self._roster = roster
        self._counters = counters
        self._heartbeat = heartbeat
        self.log = log
        self.hook = hook

    def opened(self, connection: Connection, dialect: str, user: str | None, expires_at: float | None) -> None:
        """`connection` was admitted. Its token expires at `expires_at` (seconds since the epoch; None: never)."""
        self._roster.add(connection)
        self._counters.opened[dialect] += 1
        self._gate.capacity.enter(connection, user, connection.address)
        if expires_at is not None:
            self._heartbeat.watch_expiry(connection, expires_at)

    def closed(self, connection: Connection, code: int, label: str, reason: str = "") -> None:
        """`connection` starts to close; it is still in its channels. `label` is the reason in metrics."""
        # Clients may choose among 2,000 codes, each of which would be a time series of its own.
        counted = code // 1000 * 1000 if label == "client" and code >= FIRST_OWN_CODE else code
        self._counters.closed[(counted, label)] += 1
        self.log.closed(connection, code, label)
        if self.hook is not None:
            self.hook.disconnected(connection.id, code, reason)

    def close_undelivered(self, connection: Connection) -> None:
        """`connection` was reset before the client had received its close frame."""
        self._counters.undelivered_closes += 1
        self.log.close_undelivered(connection)

    def left(self, connection: Connection) -> None:
        """`connection` gets no further publications: remove it from the roster and its channels."""
        self._roster.remove(connection)
        self._hub.leave(connection)

    def gone(self, connection: Connection) -> None:
        """The socket of `connection` is closed."""
        self._heartbeat.forget(connection)
        identity = connection.identity
        self._gate.leave(connection, None if identity is None else identity.user, connection.address)

    def refused(self, error: FastWSError, address: str) -> None:
        """A handshake, or an unreadable request, was refused with `error`."""
        self._counters.refused[(error.status, error.reason)] += 1
        self.log.refused(error, address)

    def request_refused(self, route: str, error: FastWSError, address: str) -> None:
        """A plain HTTP request to `route` was answered with `error`."""
        self._counters.requests_refused[(route, error.status)] += 1
        self.log.refused(error, address, route=route)
