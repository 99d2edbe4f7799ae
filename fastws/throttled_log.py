"""Throttled logging: one line per kind of event and minute, with the number of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog


class ThrottledLog:
    """Logs each kind of event at most once in `seconds`, with the number of events since the last line of its kind.

    The set of kinds must be small, since each is kept forever. `clock` is monotonic, in seconds.
    """

    __slots__ = ("_clock", "_counts", "_log", "_logged_at", "_seconds")

    def __init__(
        self,
        log: structlog.stdlib.BoundLogger,
        *,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._logged_at: dict[str, float] = {}

    def warning(self, event: str, *, kind: str = "", **fields: object) -> None:
        """Log an event at level warning, or only count it. The default `kind` is the event."""
        self._write(self._log.warning, event, kind, fields)

    def error(self, event: str, *, kind: str = "", **fields: object) -> None:
        """Log an event at level error, or only count it. The default `kind` is the event."""
        self._write(self._log.error, event, kind, fields)

    def _write(self, write: Callable[..., object], event: str, kind: str, fields: Mapping[str, object]) -> None:
        count = self._count(kind or event)
        if count:
            write(event, **({"kind": kind} if kind else {}), **fields, count=count)

    def _count(self, kind: str) -> int:
        """Count an event. Return the number of events that the next line covers, or 0 if no line is due."""
        now = self._clock()
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if now - self._logged_at.get(kind, float("-inf")) < self._seconds:
            return 0
        self._logged_at[kind] = now
        return self._counts.pop(kind)
