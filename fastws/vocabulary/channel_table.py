"""A table of channel patterns: the first pattern that matches a channel decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from fastws.vocabulary.channels import matches

T = TypeVar("T")

MAX_REMEMBERED: Final = 4096


class ChannelTable(Generic[T]):
    """The value for each channel, from (pattern, value) pairs. A pattern of None matches every channel."""

    __slots__ = ("_known", "_table")

    def __init__(self, table: Sequence[tuple[str | None, T | None]]) -> None:
        self._table = tuple(table)
        self._known: dict[str, T | None] = {}

    def __call__(self, channel: str) -> T | None:
        """Return the value for `channel`; None if no pattern matches. Cost: 0.05 µs if it was asked for before."""
        try:
            return self._known[channel]
        except KeyError:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            value = self._known[channel] = self._find(channel)
            return value

    def _find(self, channel: str) -> T | None:
        for pattern, value in self._table:
            if pattern is None or matches(pattern, channel):
                return value
        return None
