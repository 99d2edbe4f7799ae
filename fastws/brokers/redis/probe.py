"""The canary: a message to ourselves through Redis every second, the only proof that messages come through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastws.brokers.redis.wire.timeouts import RedisTimeouts

# However long nothing comes through, a new connection is tried again within this many times the first wait.
_MAX_WAIT_FACTOR: Final = 6


class RedisProbe:
    """Its payload carries the time; what comes back tells the lag, what does not that the line is dead."""

    def __init__(
        self, clock: Callable[[], float], observe_lag: Callable[[float], None], timeouts: RedisTimeouts
    ) -> None:
        self._clock = clock
        self._observe_lag = observe_lag
        self._timeouts = timeouts
        self._heard_at = float("-inf")
        self._listening_since = clock()
        self._replacements = 0

    @property
    def age_seconds(self) -> float:
        """Since the last one came back; infinite before the first."""
        return self._clock() - self._heard_at

    @property
    def is_fresh(self) -> bool:
        return self.age_seconds < self._timeouts.probe_late_seconds

    def payload(self) -> bytes:
        return repr(self._clock()).encode()

    def received(self, payload: bytes) -> None:
        """One came back. Anything else that somebody published there is no canary."""
        now = self._clock()
        try:
            lag = now - float(payload)
        except ValueError:
            return
        if not 0.0 <= lag < float("inf"):
            return
        self._heard_at = now
        self._replacements = 0
        self._observe_lag(lag)

    def connected(self) -> None:
        """Both connections are there: from now on it should be heard."""
        self._listening_since = self._clock()

    def is_lost(self) -> bool:
        """Whether connections that look well bring nothing back: then others are needed, each time later."""
        silent_since = max(self._heard_at, self._listening_since)
        wait = self._timeouts.probe_lost_seconds * min(1 + self._replacements, _MAX_WAIT_FACTOR)
        if self._clock() - silent_since < wait:
            return False
        self._replacements += 1
        return True
