"""When messages are published: at a fixed rate whatever happens, or as fast as they are heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastws.bench.crew import NEVER, Crew, now_ns
from fastws.bench.histogram import Histogram
from fastws.bench.outlets import Due, Outlet

# uvloop's timers tick in milliseconds: the last stretch before a message is due is spun away.
SPIN_NS: Final = 1_500_000
# The closed loop may lose messages (a slow consumer cut off): after this long without a delivery it starts anew.
STALL_SECONDS: Final = 0.5
OTHERS_SECONDS: Final = 0.001
MOST_AT_ONCE: Final = 256


class Sequence:
    """The messages of a run: number m of all goes to channel m % channels."""

    __slots__ = ("channels", "published")

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.published = 0

    def next(self, due_ns: int) -> Due:
        number, channel = divmod(self.published, self.channels)
        self.published += 1
        return channel, number, due_ns


class OpenLoop:
    """Publishes at `rate` from `begin_ns` to `end_ns`, or `messages` of them.

    A message that goes out late keeps the moment at which it was due, so that what the server (or this client) holds
    up is seen in every message that it held up. `lateness` tells how late they went out.
    """

    def __init__(
        self,
        crew: Crew,
        sequence: Sequence,
        outlet: Outlet,
        *,
        rate: float,
        begin_ns: int,
        end_ns: int,
        messages: int = 0,
    ) -> None:
        self.lateness = Histogram()
        self.stalls = 0
        self._crew = crew
        self._sequence = sequence
        self._outlet = outlet
        self._interval_ns = 1e9 / rate
        self._begin_ns = begin_ns
        self._sent = 0
        self._limit = messages or round((end_ns - begin_ns) / self._interval_ns)
        self.done = crew.loop.create_future()
        self._turn()

    def _turn(self) -> None:
        now = now_ns()
        dues: list[Due] = []
        while self._sent < self._limit and len(dues) < MOST_AT_ONCE:
            due = self._begin_ns + int(self._sent * self._interval_ns)
            if due > now:
                break
            dues.append(self._sequence.next(due))
            self.lateness.add(now - due)
            self._sent += 1
        if dues:
            self._outlet.publish(dues)
        if self._sent >= self._limit:
            self.done.set_result(None)
            return
        wait = self._begin_ns + int(self._sent * self._interval_ns) - now
        if wait > 2 * SPIN_NS:
            self._crew.loop.call_later((wait - SPIN_NS) / 1e9, self._turn)
        else:
            self._crew.loop.call_soon(self._turn)


class ClosedLoop:
    """Keeps `window` messages under way to the average receiver, until `end_ns`.

    The deliveries of other processes are read from the scoreboard every millisecond.
    """

    def __init__(
        self,
        crew: Crew,
        sequence: Sequence,
        outlet: Outlet,
        *,
        window: int,
        fan_out: float,
        end_ns: int,
        others: Callable[[], int] | None = None,
    ) -> None:
        self.lateness = Histogram()
        self.stalls = 0
        self._crew = crew
        self._sequence = sequence
        self._outlet = outlet
        self._window = window
        self._fan_out = fan_out
        self._end_ns = end_ns
        self._others = others
        self.done = crew.loop.create_future()
        self._rebase()
        self._progress = (-1, crew.loop.time())
        crew.wake = self._awake
        self._look()
        if others is not None:
            self._look_at_others()

    def _deliveries(self) -> int:
        return self._crew.deliveries + (self._others() if self._others is not None else 0)

    def _rebase(self) -> None:
        self._heard_before = self._deliveries()
        self._published_before = self._sequence.published

    def _awake(self) -> None:
        """Enough was heard for one more message; the rest of this loop turn may make room for others."""
        self._crew.wake_at = NEVER
        self._crew.loop.call_soon(self._publish)

    def _publish(self) -> None:
        now = now_ns()
        if now >= self._end_ns:
            self._end()
            return
        heard = self._deliveries() - self._heard_before
        published = self._sequence.published - self._published_before
        room = min(int(heard / self._fan_out) + self._window - published, MOST_AT_ONCE)
        if room > 0:
            self._outlet.publish([self._sequence.next(now) for _ in range(room)])
            published += room
        target = self._heard_before + (published - self._window + 1) * self._fan_out
        self._crew.wake_at = int(target) - (self._others() if self._others is not None else 0)

    def _look(self) -> None:
        """The first messages, the end, and what to do when nothing is heard any more."""
        if self.done.done():
            return
        loop = self._crew.loop
        heard = self._deliveries()
        if heard != self._progress[0]:
            self._progress = (heard, loop.time())
        elif loop.time() - self._progress[1] > STALL_SECONDS:
            self.stalls += 1
            self._rebase()
        self._publish()
        if not self.done.done():
            loop.call_later(0.05, self._look)

    def _look_at_others(self) -> None:
        if not self.done.done():
            self._publish()
            self._crew.loop.call_later(OTHERS_SECONDS, self._look_at_others)

    def _end(self) -> None:
        self._crew.wake_at = NEVER
        if not self.done.done():
            self.done.set_result(None)
