"""The retry schedule: exponential backoff with full jitter, within a time limit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from fastws.backend.responses import RETRYABLE, retry_after_seconds, unreachable
from fastws.errors import FastWSError

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 2.0
TRANSIENT = (httpx.TransportError, *RETRYABLE)  # errors that another attempt may not hit


@dataclass(slots=True, frozen=True)
class RetrySchedule:
    """`limit_seconds`: no attempt starts later than this after the first one. 0 means a single attempt."""

    limit_seconds: float

    def delay_seconds(self, tries: int, elapsed_seconds: float, at_least_seconds: float = 0.0) -> float | None:
        """Return the delay after `tries` (1 or more) failed attempts, or None when time is up.

        `at_least_seconds` is the server's Retry-After. The jitter is added to it, so that backends which got the same
        Retry-After do not all return at the same moment.
        """
        ceiling = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(tries - 1, 10))
        delay = at_least_seconds + random.uniform(0, ceiling)  # noqa: S311 # spreads load; not security-relevant
        return delay if elapsed_seconds + delay < self.limit_seconds else None


class Tries:
    """The attempts of one call, which starts now. `clock` returns monotonic seconds."""

    def __init__(self, schedule: RetrySchedule, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._schedule = schedule
        self._url = url
        self._clock = clock
        self._began = clock()
        self._failed = 0

    def delay_after(self, error: Exception) -> float:
        """Return the seconds to wait before the next attempt. Raises `error` as a FastWSError when time is up."""
        failure = unreachable(self._url, error) if isinstance(error, httpx.TransportError) else error
        assert isinstance(failure, FastWSError)  # noqa: S101 # TRANSIENT has only these two kinds
        self._failed += 1
        elapsed = self._clock() - self._began
        delay = self._schedule.delay_seconds(self._failed, elapsed, retry_after_seconds(failure))
        if delay is None:
            raise failure from error
        return delay
