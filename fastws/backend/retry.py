"""The retry schedule: exponential backoff with full jitter, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from fastws.backend.responses import RETRYABLE, retry_after_seconds, unreachable
from fastws.backoff import Backoff
from fastws.errors import FastWSError

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 2.0
TRANSIENT = (httpx.TransportError, *RETRYABLE)  # errors that another attempt may not hit


@dataclass(slots=True, frozen=True)
class RetrySchedule:
    """`limit_seconds`: no attempt starts later than this after the first one. 0 means a single attempt."""

    limit_seconds: float


class Tries:
    """The attempts of one call, which starts now. `clock` returns monotonic seconds."""

    def __init__(self, schedule: RetrySchedule, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._schedule = schedule
        self._url = url
        self._clock = clock
        self._began = clock()
        self._backoff = Backoff(FIRST_SECONDS, LONGEST_SECONDS)

    def delay_after(self, error: Exception) -> float:
        """Return the seconds to wait before the next attempt. Raises `error` as a FastWSError when time is up.

        The jitter is added to the server's Retry-After, so that backends which got the same Retry-After do not all
        return at the same moment.
        """
        failure = unreachable(self._url, error) if isinstance(error, httpx.TransportError) else error
        assert isinstance(failure, FastWSError)  # noqa: S101 # TRANSIENT has only these two kinds
        delay = self._backoff.next_seconds(retry_after_seconds(failure))
        if self._clock() - self._began + delay >= self._schedule.limit_seconds:
            raise failure from error
        return delay
