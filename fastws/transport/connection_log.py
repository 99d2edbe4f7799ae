"""The connection log: log lines for opened, closed and refused connections, limited in number."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from fastws.errors import FastWSError
from fastws.logs import LogLevel

if TYPE_CHECKING:
    from fastws.transport.websocket import Connection

log = structlog.stdlib.get_logger("fastws.connection")

# A line costs about 40 µs: logging every client of a reconnecting crowd would cost more than serving it.
LINES_PER_SECOND: Final = 100
REFUSALS_SECONDS: Final = 60.0
MAX_CHANNELS_SHOWN: Final = 8
# Clients choose parts of some causes: after this many kinds of refusals in a minute, causes are no longer told apart.
MAX_KINDS: Final = 64
MAX_ANSWER_LENGTH: Final = 300


class _Refusal(NamedTuple):
    """A kind of refusal. `route` is "" for handshakes and unreadable requests."""

    route: str
    status: int
    reason: str
    cause: str

    def __str__(self) -> str:
        words = f"{self.route} {self.status} {self.reason}".lstrip()
        return f"{words} ({self.cause})" if self.cause else words


class ConnectionLog:
    """Logs connections and refusals.

    Connections: at level info the first LINES_PER_SECOND lines of each second and the number of suppressed ones; at
    level debug all lines. Refusals: the first of each kind with what the client was told and, for the operator, the
    cause; then their numbers once per minute. The metrics count all of them at any level. No line has a token, a query
    string or a payload.
    """

    __slots__ = (
        "_closed_suppressed",
        "_level",
        "_lines_left",
        "_opened_suppressed",
        "_refused",
        "_refusing",
        "_second",
        "_undelivered_suppressed",
    )

    def __init__(self, level: LogLevel) -> None:
        self._level = level
        self._lines_left = LINES_PER_SECOND
        self._opened_suppressed = 0
        self._closed_suppressed = 0
        self._undelivered_suppressed = 0
        self._second: asyncio.TimerHandle | None = None
        self._refused: dict[_Refusal, int] = defaultdict(int)
        self._refusing: asyncio.TimerHandle | None = None

    def opened(self, connection: Connection) -> None:
        """Log an opened connection. Cost: 0.1 µs if no line is written."""
        if not self._may_log():
            self._opened_suppressed += 1
            return
        log.info(
            "connection opened",
            connection=connection.id,
            user=_user(connection),
            address=connection.address,
            dialect=connection.dialect_name,
            codec=connection.codec_name,
        )

    def closed(self, connection: Connection, code: int, reason: str) -> None:
        """Log a closed connection, before it leaves its channels. Cost: 0.1 µs if no line is written."""
        if not self._may_log():
            self._closed_suppressed += 1
            return
        seconds = round(time.time() - connection.connected_at, 3)
        log.info("connection closed", code=code, reason=reason, seconds=seconds, **client_fields(connection))

    def close_undelivered(self, connection: Connection) -> None:
        """Log a connection that was reset before the client had received its close frame."""
        if self._may_log():
            user, address = _user(connection), connection.address
            log.info("close frame not delivered", connection=connection.id, user=user, address=address)
        else:
            self._undelivered_suppressed += 1

    def close_unconfirmed(self, connection: Connection) -> None:
        """Log a connection whose close frame is still in the kernel when the process ends."""
        if self._may_log():
            user, address = _user(connection), connection.address
            log.info("close frame left to the kernel", connection=connection.id, user=user, address=address)
        else:
            self._undelivered_suppressed += 1

    def refused(self, error: FastWSError, address: str, *, route: str = "") -> None:
        """Log a request to `route`, or without one a handshake or an unreadable request, refused with `error`."""
        kind = _Refusal(route, error.status, error.reason, error.cause)
        if len(self._refused) >= MAX_KINDS and kind not in self._refused:
            kind = kind._replace(cause="")
        self._refused[kind] += 1
        if self._refusing is None:
            self._refusing = asyncio.get_running_loop().call_later(REFUSALS_SECONDS, self._log_refusals)
        if self._refused[kind] > 1:
            return
        status, reason, cause = error.status, error.reason, error.cause
        answer = error.message[:MAX_ANSWER_LENGTH]
        if route:
            log.info(
                "request refused",
                route=route,
                status=status,
                reason=reason,
                address=address,
                answer=answer,
                cause=cause,
            )
        else:
            log.info("handshake refused", status=status, reason=reason, address=address, answer=answer, cause=cause)

    def close(self) -> None:
        """Log the outstanding numbers and cancel the timers."""
        if self._second is not None:
            self._second.cancel()
            self._next_second()
        if self._refusing is not None:
            self._refusing.cancel()
            self._log_refusals()

    def _may_log(self) -> bool:
        if self._second is None:
            self._second = asyncio.get_running_loop().call_later(1.0, self._next_second)
        if self._lines_left <= 0:
            return self._level.is_debug
        self._lines_left -= 1
        return True

    def _next_second(self) -> None:
        self._second = None
        self._lines_left = LINES_PER_SECOND
        opened, closed, undelivered = self._opened_suppressed, self._closed_suppressed, self._undelivered_suppressed
        if opened or closed or undelivered:
            log.info("connection log sampled", opened=opened, closed=closed, undelivered=undelivered)
            self._opened_suppressed = self._closed_suppressed = self._undelivered_suppressed = 0

    def _log_refusals(self) -> None:
        self._refusing = None
        refused = sorted(self._refused.items())
        self._refused.clear()
        handshakes = {str(kind): count for kind, count in refused if not kind.route}
        requests = {str(kind): count for kind, count in refused if kind.route}
        if sum(handshakes.values()) > len(handshakes):
            log.warning("handshakes refused in the last minute", refused=handshakes)
        if sum(requests.values()) > len(requests):
            log.warning("requests refused in the last minute", refused=requests)


def client_fields(connection: Connection) -> dict[str, object]:
    """Return the fields that identify `connection` in a log line: its id, user, address, dialect and channels."""
    names = connection.channel_names
    fields: dict[str, object] = {
        "connection": connection.id,
        "user": _user(connection),
        "address": connection.address,
        "dialect": connection.dialect_name,
        "channels": names[:MAX_CHANNELS_SHOWN],
    }
    if len(names) > MAX_CHANNELS_SHOWN:
        fields["more_channels"] = len(names) - MAX_CHANNELS_SHOWN
    return fields


def _user(connection: Connection) -> str | None:
    identity = connection.identity
    return None if identity is None else identity.user
