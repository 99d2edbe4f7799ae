"""What came from Redis and could not be taken: counted always, told rarely."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

LOG_SECONDS: Final = 60.0

_log = structlog.get_logger("fastws.redis")


class Rejections:
    """Logs per kind at most once a minute, with how many there were since the last time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._logged_at: dict[str, float] = {}

    def note(self, kind: str, reason: str) -> None:
        """One more of `kind`. A long `reason` is cut: it may quote what a stranger published."""
        count = self.due(kind)
        if count:
            _log.warning("message from redis rejected", kind=kind, reason=reason[:200], count=count)

    def due(self, kind: str) -> int:
        """One more of `kind`: how many there were since the last log line if another is due, else 0."""
        now = self._clock()
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if now - self._logged_at.get(kind, float("-inf")) < LOG_SECONDS:
            return 0
        self._logged_at[kind] = now
        return self._counts.pop(kind)
