"""Subscription counts: subscribers of some channels receive their number, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastws.vocabulary.replies import SubscriptionCount

# Least time between two counts on a channel, and on one with more than MANY subscribers.
SECONDS: Final = 1.0
SECONDS_OF_MANY: Final = 5.0
MANY: Final = 100


@dataclass(slots=True)
class _State:
    """The subscribers of one channel in this process, and the count that they know."""

    here: int = 0
    known: int = 0
    # Whether somebody has come who does not know the count yet.
    has_newcomer: bool = False
    is_scheduled: bool = False
    next_at: float = 0.0


class SubscriptionCounts:
    """Publishes the number of subscribers of a channel to those in this process when it has changed.

    `is_wanted` returns whether a channel has counts, `here` and `total` its subscribers in this process and on all.
    `published` gets each channel and count. `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        is_wanted: Callable[[str], bool],
        here: Callable[[str], int],
        total: Callable[[str], int],
        notify: Callable[[str, SubscriptionCount], Iterator[int]],
        published: Callable[[str, int], None],
        schedule_later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self._is_wanted = is_wanted
        self._here = here
        self._total = total
        self._notify = notify
        self._published = published
        self._schedule_later = schedule_later
        self._clock = clock
        self._states: dict[str, _State] = {}

    def __len__(self) -> int:
        """The number of channels whose counts are known."""
        return len(self._states)

    def changed(self, channel: str) -> None:
        """The number of subscribers of `channel` may have changed, here or on another process."""
        if not self._is_wanted(channel):
            return
        here, state = self._here(channel), self._states.get(channel)
        if state is None:
            if not here:
                return
            state = self._states[channel] = _State()
        state.has_newcomer = state.has_newcomer or here > state.here
        state.here = here
        if not state.is_scheduled:
            state.is_scheduled = True
            # Not at once: a newcomer gets the reply to its request first.
            self._schedule_later(max(state.next_at - self._clock(), 0.0), partial(self._publish, channel, state))

    def _publish(self, channel: str, state: _State) -> None:
        state.is_scheduled = False
        if not self._here(channel):
            del self._states[channel]
            return
        count = self._total(channel)
        if count == state.known and not state.has_newcomer:
            return
        state.known, state.has_newcomer = count, False
        state.next_at = self._clock() + (SECONDS_OF_MANY if count > MANY else SECONDS)
        self._write(self._notify(channel, SubscriptionCount(channel, count)))
        self._published(channel, count)

    def _write(self, writing: Iterator[int]) -> None:
        """Write one slice, and the next one in a later loop iteration."""
        if next(writing, None) is not None:
            self._schedule_later(0.0, partial(self._write, writing))
