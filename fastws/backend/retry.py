"""When to try again: exponential backoff with full jitter, inside one limit of time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from fastws.backend.answers import RETRYABLE, unreachable, wait_seconds
from fastws.errors import FastWSError

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 2.0
TRANSIENT = (httpx.TransportError, *RETRYABLE)  # what a try may end with that another may not


@dataclass(slots=True, frozen=True)
class RetrySchedule:
    """`limit_seconds` is the time from the first try in which the last may begin; 0 = one try only."""

    limit_seconds: float

    def delay_seconds(self, tries: int, elapsed_seconds: float, at_least_seconds: float = 0.0) -> float | None:
        """How long to wait after `tries` (1 or more) that failed, or None when the time is up.

        `at_least_seconds` is what the server asked for (Retry-After): the jitter comes on top of it, so that
        many backends which were told the same do not come back at the same instant.
        """
        ceiling = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(tries - 1, 10))
        delay = at_least_seconds + random.uniform(0, ceiling)  # noqa: S311 # spreads load, guards nothing
        return delay if elapsed_seconds + delay < self.limit_seconds else None


class Tries:
    """The tries of one call, which starts now. `clock` gives seconds that only go forward."""

    def __init__(self, schedule: RetrySchedule, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._schedule = schedule
        self._url = url
        self._clock = clock
        self._began = clock()
        self._failed = 0

    def delay_after(self, error: Exception) -> float:
        """Seconds to wait before the next try; raises `error` as a FastWSError when there is to be none."""
        failure = unreachable(self._url, error) if isinstance(error, httpx.TransportError) else error
        assert isinstance(failure, FastWSError)  # noqa: S101 # TRANSIENT has no third kind
        self._failed += 1
        elapsed = self._clock() - self._began
        delay = self._schedule.delay_seconds(self._failed, elapsed, wait_seconds(failure))
        if delay is None:
            raise failure from error
        return delay
