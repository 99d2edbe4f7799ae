"""The connection_log: who came, who went and who was turned away, in log lines that no storm of clients makes dear."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import structlog

from fastws.errors import FastWSError
from fastws.logs import LogLevel

if TYPE_CHECKING:
    from fastws.transport.websocket import Connection

log = structlog.stdlib.get_logger("fastws.connection")

# A line costs the loop some 40 µs, so all of a reconnecting crowd's would cost more than serving it.
LINES_PER_SECOND: Final = 100
REFUSALS_SECONDS: Final = 60.0
MAX_CHANNELS_SHOWN: Final = 8


class ConnectionLog:
    """Lines about connections: at level info the first LINES_PER_SECOND of each second, then how many more there were;
    at level debug all of them. Metrics count every one at any level.

    Refusals: the first of each kind, then once a minute how many there were. Nothing that a client keeps secret is in
    a line: no token, no query, no payload.
    """

    __slots__ = (
        "_closed_suppressed",
        "_level",
        "_lines_left",
        "_opened_suppressed",
        "_refused",
        "_refusing",
        "_second",
    )

    def __init__(self, level: LogLevel) -> None:
        self._level = level
        self._lines_left = LINES_PER_SECOND
        self._opened_suppressed = 0
        self._closed_suppressed = 0
        self._second: asyncio.TimerHandle | None = None
        self._refused: dict[tuple[int, str], int] = defaultdict(int)
        self._refusing: asyncio.TimerHandle | None = None

    def opened(self, connection: Connection) -> None:
        """`connection` was let in. Cost: 0.1 µs where there is no line."""
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
        """`connection` ends, while its channels are still known. Cost: 0.1 µs where there is no line."""
        if not self._may_log():
            self._closed_suppressed += 1
            return
        seconds = round(time.time() - connection.connected_at, 3)
        log.info("connection closed", code=code, reason=reason, seconds=seconds, **who(connection))

    def refused(self, error: FastWSError, address: str) -> None:
        """A handshake or a request that cannot be read was answered with `error`."""
        kind = (error.status, error.reason)
        self._refused[kind] += 1
        if self._refusing is None:
            self._refusing = asyncio.get_running_loop().call_later(REFUSALS_SECONDS, self._sum_up_refusals)
        if self._refused[kind] == 1:
            log.info("handshake refused", status=error.status, reason=error.reason, address=address)

    def close(self) -> None:
        """Say what is still unsaid, and leave no timer behind."""
        if self._second is not None:
            self._second.cancel()
            self._next_second()
        if self._refusing is not None:
            self._refusing.cancel()
            self._sum_up_refusals()

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
        if self._opened_suppressed or self._closed_suppressed:
            log.info(
                "more connections than are logged one by one",
                opened=self._opened_suppressed,
                closed=self._closed_suppressed,
            )
            self._opened_suppressed = self._closed_suppressed = 0

    def _sum_up_refusals(self) -> None:
        self._refusing = None
        counts = {f"{status} {reason}": count for (status, reason), count in sorted(self._refused.items())}
        self._refused.clear()
        if sum(counts.values()) > len(counts):
            log.warning("handshakes refused in the last minute", refused=counts)


def who(connection: Connection) -> dict[str, object]:
    """What a line says of `connection`: its id, user, address, dialect and channels."""
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
