"""Load generators: the open loop publishes at a fixed rate, the closed loop as fast as messages are delivered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastws.bench.histogram import Histogram
from fastws.bench.publishers import Due, Publisher
from fastws.bench.shared import NEVER, Shared, now_ns

# uvloop's timers have a resolution of 1 ms, so the last stretch before a message is due is a busy wait.
SPIN_NS: Final = 1_500_000
# Messages may be lost (a slow consumer was closed): after this long without a delivery the closed loop starts over.
STALL_SECONDS: Final = 0.5
OTHERS_SECONDS: Final = 0.001
MOST_AT_ONCE: Final = 256


class Sequence:
    """Numbers the messages of a run. Message m goes to channel m % channels."""

    __slots__ = ("channels", "published")

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.published = 0

    def next(self, due_ns: int) -> Due:
        number, channel = divmod(self.published, self.channels)
        self.published += 1
        return channel, number, due_ns


class OpenLoop:
    """Publishes at `rate` from `begin_ns` to `end_ns`, or until `messages` were sent.

    Latency counts from the time at which a message was due, even if it was sent late: a stall of the server or of this
    client then shows in every message that it delayed (no coordinated omission). `lateness` holds the client's part.
    """

    def __init__(
        self,
        shared: Shared,
        sequence: Sequence,
        publisher: Publisher,
        *,
        rate: float,
        begin_ns: int,
        end_ns: int,
        messages: int = 0,
    ) -> None:
        self.lateness = Histogram()
        self.stalls = 0
        self._shared = shared
        self._sequence = sequence
        self._publisher = publisher
        self._interval_ns = 1e9 / rate
        self._begin_ns = begin_ns
        self._sent = 0
        self._limit = messages or round((end_ns - begin_ns) / self._interval_ns)
        self.done = shared.loop.create_future()
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
            self._publisher.publish(dues)
        if self._sent >= self._limit:
            self.done.set_result(None)
            return
        wait = self._begin_ns + int(self._sent * self._interval_ns) - now
        if wait > 2 * SPIN_NS:
            self._shared.loop.call_later((wait - SPIN_NS) / 1e9, self._turn)
        else:
            self._shared.loop.call_soon(self._turn)


class ClosedLoop:
    """Keeps `window` messages in flight to the average receiver, until `end_ns`.

    The deliveries of other processes are read from the scoreboard every millisecond.
    """

    def __init__(
        self,
        shared: Shared,
        sequence: Sequence,
        publisher: Publisher,
        *,
        window: int,
        fan_out: float,
        end_ns: int,
        others: Callable[[], int] | None = None,
    ) -> None:
        self.lateness = Histogram()
        self.stalls = 0
        self._shared = shared
        self._sequence = sequence
        self._publisher = publisher
        self._window = window
        self._fan_out = fan_out
        self._end_ns = end_ns
        self._others = others
        self.done = shared.loop.create_future()
        self._rebase()
        self._progress = (-1, shared.loop.time())
        shared.wake = self._on_wake
        self._check()
        if others is not None:
            self._poll_others()

    def _deliveries(self) -> int:
        return self._shared.deliveries + (self._others() if self._others is not None else 0)

    def _rebase(self) -> None:
        self._delivered_before = self._deliveries()
        self._published_before = self._sequence.published

    def _on_wake(self) -> None:
        """Enough was delivered for one more message; the rest of this loop turn may allow more."""
        self._shared.wake_at = NEVER
        self._shared.loop.call_soon(self._publish)

    def _publish(self) -> None:
        now = now_ns()
        if now >= self._end_ns:
            self._end()
            return
        delivered = self._deliveries() - self._delivered_before
        published = self._sequence.published - self._published_before
        room = min(int(delivered / self._fan_out) + self._window - published, MOST_AT_ONCE)
        if room > 0:
            self._publisher.publish([self._sequence.next(now) for _ in range(room)])
            published += room
        target = self._delivered_before + (published - self._window + 1) * self._fan_out
        self._shared.wake_at = int(target) - (self._others() if self._others is not None else 0)

    def _check(self) -> None:
        """Publish the first messages, notice the end, and start over if nothing arrives any more."""
        if self.done.done():
            return
        loop = self._shared.loop
        delivered = self._deliveries()
        if delivered != self._progress[0]:
            self._progress = (delivered, loop.time())
        elif loop.time() - self._progress[1] > STALL_SECONDS:
            self.stalls += 1
            self._rebase()
        self._publish()
        if not self.done.done():
            loop.call_later(0.05, self._check)

    def _poll_others(self) -> None:
        if not self.done.done():
            self._publish()
            self._shared.loop.call_later(OTHERS_SECONDS, self._poll_others)

    def _end(self) -> None:
        self._shared.wake_at = NEVER
        if not self.done.done():
            self.done.set_result(None)
