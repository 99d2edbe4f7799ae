"""Settings that depend on the channel name: slow policy and flush interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from fastws.vocabulary.channels import matches

T = TypeVar("T")


class Rules:
    """Settings by channel pattern. The first pattern that matches the name wins.

    `policies` are (pattern, slow policy) and `intervals` are (pattern, seconds). A pattern of None is the default.
    """

    __slots__ = ("_intervals", "_policies")

    def __init__(
        self,
        policies: Sequence[tuple[str | None, str]] = (),
        intervals: Sequence[tuple[str | None, float]] = (),
    ) -> None:
        self._policies = tuple(policies)
        self._intervals = tuple(intervals)

    def policy(self, name: str) -> str:
        """The slow policy of channel `name`; "disconnect" by default."""
        return _first(self._policies, name, "disconnect")

    def flush_seconds(self, name: str) -> float:
        """The flush interval of channel `name` in seconds; 0 (no interval) by default."""
        return _first(self._intervals, name, 0.0)


def _first(table: Sequence[tuple[str | None, T]], name: str, fallback: T) -> T:
    for pattern, value in table:
        if pattern is None:
            fallback = value
        elif matches(pattern, name):
            return value
    return fallback
