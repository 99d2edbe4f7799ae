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
    """Collects the channels that have publications; one flush per loop iteration writes them all.

    `schedule` runs a callback in the next iteration (asyncio's `call_soon`), `schedule_later` after a number of seconds
    (`call_later`). Both are injected, so that tests control the time. `after_flush` is called after each flush, when
    all receipts have their results and the replies can be written together. `failed` is called with an unexpected
    exception from writing a channel, from a receipt or from a member; the other channels are still written.
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
        # The channels of this flush that are not yet written, in reverse order, and the one that is being written.
        self._batch: list[Channel] = []
        self._current: Channel | None = None
        self._work: Iterator[int] | None = None
        self._is_scheduled = False
        self.is_running = False
        self._is_joint_batch = False
        # Whether this flush writes several channels: members of more than one of them join their data into one write.
        self.is_joint = False

    @property
    def is_empty(self) -> bool:
        """Whether no channel is due. Channels that wait for their flush interval do not count."""
        return not self._dirty and not self._batch and self._work is None

    def add(self, channel: Channel) -> None:
        """Schedule `channel`, which is about to get the first publication of its run."""
        if channel.flush_seconds:
            self._delay(channel)
        else:
            self.hasten(channel)

    def hasten(self, channel: Channel) -> None:
        """Write `channel` in the next turn, whatever its flush interval is."""
        if channel.is_due:
            return  # it is still listed for an earlier run, which has been written meanwhile
        channel.is_due = True
        self._dirty.append(channel)
        if not self._is_scheduled:
            self._wake()

    def flush(self) -> None:
        """Write all due channels now, without a budget."""
        if self.is_running:
            return
        self._run(budget=None)

    def is_flushed(self, channel: Channel) -> bool:
        """Whether `channel` has no publication that waits for a flush or for the end of its flush interval."""
        return not channel.run and (self._work is None or self._current is not channel)

    def flush_channel(self, channel: Channel) -> None:
        """Write the run of `channel` now; the other channels are written in their turns."""
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
        """Write everything, including channels that wait for their flush interval."""
        for seconds in self._delayed:
            self._end_interval(seconds)
        self.flush()

    def _delay(self, channel: Channel) -> None:
        if channel.is_delayed:
            return  # it is still listed for an earlier run, which has been written meanwhile
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
        """Make the channels with a flush interval of `seconds` due."""
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
        """Write what one loop iteration may write."""
        self._is_scheduled = False
        if self.is_running or self.is_empty:
            return  # flushed meanwhile
        self._run(budget=WRITES_PER_TURN)

    def _run(self, *, budget: int | None) -> None:
        try:
            self._write(budget)
        finally:
            self._end()

    def _end(self) -> None:
        """Schedule the remaining channels and call `after_flush`, even if writing has raised."""
        if not self.is_empty and not self._is_scheduled:
            self._wake()
        try:
            self._after_flush()
        except Exception as error:  # noqa: BLE001 reported; the next flush must not fail for it
            self._failed(error)

    def _write(self, budget: int | None) -> None:
        """Write due channels until none is left or `budget` writes have been made (None: no limit)."""
        self.is_running = True
        try:
            while (work := self._work or self._begin_next()) is not None:
                self._work = None  # a generator that has raised cannot be resumed
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
        """Start writing the next due channel; None if no channel is due."""
        while True:
            if not self._batch:
                if not self._dirty:
                    return None
                self._batch, self._dirty = self._dirty[::-1], []
                self._is_joint_batch = len(self._batch) > 1
            self._current = channel = self._batch.pop()
            channel.is_due = False
            if channel.run:  # otherwise it has been written meanwhile
                return fan_out(channel, self._counters, self._failed)
