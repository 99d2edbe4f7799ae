"""The tick: publications of this loop iteration, flushed once at its end (or after a channel's flush interval)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fastws.counters import Counters
from fastws.errors import FastWSError
from fastws.hub.channel import Channel
from fastws.hub.fan_out import SLICE, fan_out

Schedule = Callable[[Callable[[], None]], object]
ScheduleLater = Callable[[float, Callable[[], None]], object]

WRITES_PER_TURN: Final = SLICE


class Tick:
    """Collects channels that have something to say; one flush per loop iteration writes them all.

    `schedule` runs a callback in the next iteration (asyncio's `call_soon`), `schedule_later` after seconds
    (`call_later`); both injected, so that tests turn the wheel by hand. `after_flush` is called after each flush, when
    receipts have been told and their replies can be written together. `failed` is told of an error of ours in writing
    one channel; the others are written all the same.
    """

    __slots__ = (
        "_after_flush",
        "_counters",
        "_delayed",
        "_dirty",
        "_failed",
        "_is_joint_batch",
        "_running",
        "_schedule",
        "_schedule_later",
        "_work",
        "is_joint",
    )

    def __init__(
        self,
        counters: Counters,
        schedule: Schedule,
        schedule_later: ScheduleLater,
        after_flush: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._counters = counters
        self._schedule = schedule
        self._schedule_later = schedule_later
        self._after_flush = after_flush
        self._failed = failed
        self._dirty: list[Channel] = []
        self._delayed: dict[float, list[Channel]] = {}
        self._work: Iterator[int] | None = None
        self._running = False
        self._is_joint_batch = False
        # Whether several channels are being written: who is in more than one of them may join what it gets.
        self.is_joint = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be written now (what a flush interval holds back does not count)."""
        return not self._dirty and self._work is None

    def add(self, channel: Channel) -> None:
        """`channel` is about to get the first publication of its run."""
        if channel.flush_seconds:
            self._delay(channel)
            return
        if not self._dirty and self._work is None:
            self._schedule(self._turn)
        self._dirty.append(channel)

    def flush(self) -> None:
        """Write everything that is due, at once and to the end."""
        if self._running:
            return
        work = self._work or self._everything()
        self._work = None
        self._run(work, budget=None)
        self._after_flush()

    def flush_channel(self, channel: Channel) -> None:
        """Write everything that is due, and what `channel` holds back for its flush interval."""
        if channel.run and channel.flush_seconds:
            waiting = self._delayed[channel.flush_seconds]
            if channel in waiting:  # else its interval is over already, and it waits for its turn
                waiting.remove(channel)
                self._dirty.append(channel)
        self.flush()

    def flush_all(self) -> None:
        """Write everything, what flush intervals hold back included."""
        for channels in self._delayed.values():
            self._dirty.extend(channels)
            channels.clear()
        self.flush()

    def _delay(self, channel: Channel) -> None:
        seconds = channel.flush_seconds
        waiting = self._delayed.get(seconds)
        if waiting is None:
            waiting = self._delayed[seconds] = []
        if not waiting:
            self._schedule_later(seconds, lambda: self._interval_over(seconds))
        waiting.append(channel)

    def _interval_over(self, seconds: float) -> None:
        channels, self._delayed[seconds] = self._delayed[seconds], []
        if not channels:
            return
        was_empty = self.is_empty
        self._dirty.extend(channels)
        if was_empty:
            self._turn()

    def _turn(self) -> None:
        """One loop iteration's share of the writing."""
        if self._running:
            return
        work = self._work
        if work is None:
            if not self._dirty:
                return  # somebody flushed in between
            work = self._everything()
        self._work = work
        if self._run(work, budget=WRITES_PER_TURN):
            self._work = None
            if self._dirty:
                self._schedule(self._turn)
        else:
            self._schedule(self._turn)
        self._after_flush()

    def _everything(self) -> Iterator[int]:
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            self._is_joint_batch = self.is_joint = len(dirty) > 1
            for channel in dirty:
                receipts = channel.receipts
                try:
                    yield from fan_out(channel, self._counters)
                except Exception as error:  # noqa: BLE001 handed on; one channel's error must not silence the others
                    self._failed(error)
                    for receipt, _ in receipts or ():
                        receipt.refused(FastWSError("internal error", channel=channel.name))

    def _run(self, work: Iterator[int], *, budget: int | None) -> bool:
        """Advance `work`; False when the budget of writes ran out before it ended."""
        self._running = True
        self.is_joint = self._is_joint_batch
        try:
            for written in work:
                if budget is not None:
                    budget -= written
                    if budget <= 0:
                        return False
        finally:
            self._running = False
            self.is_joint = False
        return True
