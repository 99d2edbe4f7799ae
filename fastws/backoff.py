"""Exponential backoff with full jitter."""

from __future__ import annotations

import random
from typing import Final

MAX_DOUBLINGS: Final = 20


class Backoff:
    """Computes delays between attempts. The bound doubles with each failure, from `first_seconds` to `longest_seconds`.

    With jitter (the default) a delay is random between 0 and the bound, so that ten thousand clients of one server do
    not reconnect at the same time. Without jitter the delay is the bound.
    """

    __slots__ = ("failures", "first_seconds", "has_jitter", "longest_seconds")

    def __init__(self, first_seconds: float, longest_seconds: float, *, has_jitter: bool = True) -> None:
        self.first_seconds = first_seconds
        self.longest_seconds = longest_seconds
        self.has_jitter = has_jitter
        self.failures = 0

    @property
    def bound_seconds(self) -> float:
        """The upper bound of the next delay, without `at_least_seconds`."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** min(self.failures, MAX_DOUBLINGS))

    def next_seconds(self, at_least_seconds: float = 0.0) -> float:
        """Count a failure and return the delay before the next attempt. `at_least_seconds` (Retry-After) is added."""
        bound = self.bound_seconds
        self.failures += 1
        return at_least_seconds + (random.uniform(0.0, bound) if self.has_jitter else bound)  # noqa: S311 no secret

    def reset(self, failures: int = 0) -> None:
        """Lower the number of failures to `failures`, for example after a connection that worked."""
        self.failures = min(self.failures, failures)
