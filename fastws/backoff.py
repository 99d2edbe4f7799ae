"""Backoff: how long to wait before the next try."""

from __future__ import annotations

import random
from typing import Final

MAX_DOUBLINGS: Final = 20


class Backoff:
    """A bound that doubles with each failure from `first_seconds` up to `longest_seconds`.

    With full jitter (the default) a delay is anything between nothing and the bound, so that ten thousand clients of
    one server do not all come back at once; without it the delay is the bound.
    """

    __slots__ = ("failures", "first_seconds", "has_jitter", "longest_seconds")

    def __init__(self, first_seconds: float, longest_seconds: float, *, has_jitter: bool = True) -> None:
        self.first_seconds = first_seconds
        self.longest_seconds = longest_seconds
        self.has_jitter = has_jitter
        self.failures = 0

    @property
    def bound_seconds(self) -> float:
        """The longest that the next delay may be."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** min(self.failures, MAX_DOUBLINGS))

    def next_seconds(self, at_least_seconds: float = 0.0) -> float:
        """The delay before the next try, counted as a failure. `at_least_seconds` (Retry-After) comes on top."""
        bound = self.bound_seconds
        self.failures += 1
        return at_least_seconds + (random.uniform(0.0, bound) if self.has_jitter else bound)  # noqa: S311 no secret

    def reset(self, failures: int = 0) -> None:
        """Begin again, as after `failures` failures: the connection was a good one."""
        self.failures = min(self.failures, failures)
