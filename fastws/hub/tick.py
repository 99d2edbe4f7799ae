"""The tick: publications of this loop iteration, flushed once at its end (or after a channel's flush interval)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fastws.counters import Counters
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
    one channel, or in what a receipt or a member does with it; the others are written all the same.
    """

    __slots__ = (
        "_after_flush",
        "_batch",
        "_counters",
        "_current",
        "_delayed",
        "_dirty",
        "_failed",
        "_is_joint_batch",
        "_is_scheduled",
        "_schedule",
        "_schedule_later",
        "_work",
        "is_joint",
        "is_running",
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
        # The channels of this flush that are still to be written, last first, and the one that is being written.
        self._batch: list[Channel] = []
        self._current: Channel | None = None
        self._work: Iterator[int] | None = None
        self._is_scheduled = False
        self.is_running = False
        self._is_joint_batch = False
        # Whether several channels are being written: who is in more than one of them may join what it gets.
        self.is_joint = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be written now (what a flush interval holds back does not count)."""
        return not self._dirty and not self._batch and self._work is None

    def add(self, channel: Channel) -> None:
        """`channel` is about to get the first publication of its run."""
        if channel.flush_seconds:
            self._delay(channel)
        else:
            self.hasten(channel)

    def hasten(self, channel: Channel) -> None:
        """Write `channel` in the next turn, whatever interval it has."""
        if channel.is_due:
            return  # since a run that was written in between
        channel.is_due = True
        self._dirty.append(channel)
        if not self._is_scheduled:
            self._wake()

    def flush(self) -> None:
        """Write everything that is due, at once and to the end."""
        if self.is_running:
            return
        self._run(budget=None)

    def is_flushed(self, channel: Channel) -> bool:
        """Whether nothing said on `channel` waits to be written, now or at the end of its interval."""
        return not channel.run and (self._work is None or self._current is not channel)

    def flush_channel(self, channel: Channel) -> None:
        """Write everything that was said on `channel`, at once; the writing of others goes on in its turns."""
        if self.is_running or self.is_flushed(channel):
            return
        self.is_running = True
        try:
            if self._current is channel and self._work is not None:
                work, self._work = self._work, None
                for _ in work:
                    pass
            if channel.run:
                for _ in fan_out(channel, self._counters, self._failed):
                    pass
        finally:
            self.is_running = False
            self._end()

    def flush_all(self) -> None:
        """Write everything, what flush intervals hold back included."""
        for seconds in self._delayed:
            self._end_interval(seconds)
        self.flush()

    def _delay(self, channel: Channel) -> None:
        if channel.is_delayed:
            return  # since a run that was written in between
        channel.is_delayed = True
        seconds = channel.flush_seconds
        waiting = self._delayed.get(seconds)
        if waiting is None:
            waiting = self._delayed[seconds] = []
        if not waiting:
            self._schedule_later(seconds, lambda: self._interval_over(seconds))
        waiting.append(channel)

    def _interval_over(self, seconds: float) -> None:
        self._end_interval(seconds)
        if self._dirty and not self._is_scheduled:
            self._turn()

    def _end_interval(self, seconds: float) -> None:
        """What was held back for `seconds` is due."""
        channels, self._delayed[seconds] = self._delayed[seconds], []
        for channel in channels:
            channel.is_delayed = False
            if channel.run and not channel.is_due:
                channel.is_due = True
                self._dirty.append(channel)

    def _wake(self) -> None:
        self._is_scheduled = True
        self._schedule(self._turn)

    def _turn(self) -> None:
        """One loop iteration's share of the writing."""
        self._is_scheduled = False
        if self.is_running or self.is_empty:
            return  # somebody flushed in between
        self._run(budget=WRITES_PER_TURN)

    def _run(self, *, budget: int | None) -> None:
        try:
            self._write(budget)
        finally:
            self._end()

    def _end(self) -> None:
        """Whatever has been raised: what is left has its turn, and what was written is after_flush."""
        if not self.is_empty and not self._is_scheduled:
            self._wake()
        try:
            self._after_flush()
        except Exception as error:  # noqa: BLE001 handed on; the next flush is after_flush all the same
            self._failed(error)

    def _write(self, budget: int | None) -> None:
        """Write the channels that are due until there are none, or `budget` writes are made."""
        self.is_running = True
        try:
            while (work := self._work or self._begin_next()) is not None:
                self._work = None  # where it raises, there is no going on with it
                self.is_joint = self._is_joint_batch
                for written in work:
                    if budget is not None:
                        budget -= written
                        if budget <= 0:
                            self._work = work
                            return
        finally:
            self.is_running = False
            self.is_joint = False

    def _begin_next(self) -> Iterator[int] | None:
        """Begin to write the next channel that is due."""
        while True:
            if not self._batch:
                if not self._dirty:
                    return None
                self._batch, self._dirty = self._dirty[::-1], []
                self._is_joint_batch = len(self._batch) > 1
            self._current = channel = self._batch.pop()
            channel.is_due = False
            if channel.run:  # else it was written in between
                return fan_out(channel, self._counters, self._failed)
