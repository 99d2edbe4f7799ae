"""The probe: a message of the process to itself through Redis, the only proof that messages pass through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastws.brokers.redis.wire.timeouts import RedisTimeouts

# The waits between two replacements of the connections grow up to this many times the first wait.
_MAX_WAIT_FACTOR: Final = 6


class RedisProbe:
    """Publishes a timestamp every second and measures how long it takes to come back.

    A probe that does not come back shows that the connections are dead, even if they look intact. `clock` returns
    monotonic seconds. `observe_lag` gets the seconds from each publish to the return.
    """

    def __init__(
        self, clock: Callable[[], float], observe_lag: Callable[[float], None], timeouts: RedisTimeouts
    ) -> None:
        self._clock = clock
        self._observe_lag = observe_lag
        self._timeouts = timeouts
        self._received_at = float("-inf")
        self._listening_since = clock()
        self._replacements = 0

    @property
    def age_seconds(self) -> float:
        """Seconds since a probe last came back; infinite before the first."""
        return self._clock() - self._received_at

    @property
    def is_fresh(self) -> bool:
        """Whether a probe came back recently enough for the broker to count as up."""
        return self.age_seconds < self._timeouts.probe_late_seconds

    def payload(self) -> bytes:
        return repr(self._clock()).encode()

    def received(self, payload: bytes) -> None:
        """A message has arrived on the channel of the probe. Ignored unless its payload is a past time."""
        now = self._clock()
        try:
            lag = now - float(payload)
        except ValueError:
            return
        if not 0.0 <= lag < float("inf"):
            return
        self._received_at = now
        self._replacements = 0
        self._observe_lag(lag)

    def connected(self) -> None:
        """Both connections are up: probes should come back from now on."""
        self._listening_since = self._clock()

    def forget(self) -> None:
        """Discard what was received: not fresh until the next probe comes back."""
        self._received_at = float("-inf")

    def is_lost(self) -> bool:
        """Whether to replace the connections because no probe comes back. Each True in a row takes longer."""
        silent_since = max(self._received_at, self._listening_since)
        wait = self._timeouts.probe_lost_seconds * min(1 + self._replacements, _MAX_WAIT_FACTOR)
        if self._clock() - silent_since < wait:
            return False
        self._replacements += 1
        return True
