"""Subscription counts: when they are published, and that newcomers always get one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastws.cluster.subscription_counts import MANY, SECONDS, SECONDS_OF_MANY, SubscriptionCounts
from fastws.vocabulary.replies import SubscriptionCount


class Channels:
    """Channels of two processes on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.here = self.elsewhere = 0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.written: list[int] = []
        self.reported: list[int] = []
        self.slices = 1
        self.counts = SubscriptionCounts(
            lambda channel: channel == "c",
            lambda channel: self.here,
            lambda channel: self.here + self.elsewhere,
            self.notify,
            lambda channel, count: self.reported.append(count),
            lambda seconds, call: self.due.append((self.now + seconds, call)),
            lambda: self.now,
        )

    def notify(self, channel: str, notice: SubscriptionCount) -> Iterator[int]:
        for _ in range(self.slices):
            yield 1
        self.written.append(notice.count)

    def change(self, here: int = 0, elsewhere: int = 0) -> None:
        self.here += here
        self.elsewhere += elsewhere
        self.counts.changed("c")

    def after(self, seconds: float) -> list[int]:
        """What was written in the next `seconds`."""
        end, before = self.now + seconds, len(self.written)
        while ready := sorted((each for each in self.due if each[0] <= end), key=lambda each: each[0]):
            self.due.remove(ready[0])
            self.now = max(self.now, ready[0][0])
            ready[0][1]()
        self.now = end
        return self.written[before:]


def test_the_first_change_is_published_soon_and_the_next_ones_once_per_second() -> None:
    channels = Channels()
    channels.change(here=1)
    channels.change(here=1)
    assert channels.written == []
    assert channels.after(0.0) == [2]
    for _ in range(3):
        channels.change(here=1)
        channels.change(elsewhere=1)
    assert channels.after(SECONDS - 0.01) == []
    assert channels.after(0.02) == [8]
    assert channels.after(10) == []
    assert channels.reported == [2, 8]


def test_above_many_subscribers_it_takes_longer() -> None:
    channels = Channels()
    channels.change(here=MANY)
    assert channels.after(0) == [MANY]
    channels.change(here=1)
    assert channels.after(SECONDS) == [MANY + 1]
    channels.change(here=-1)
    assert channels.after(SECONDS_OF_MANY - 0.01) == []
    assert channels.after(0.02) == [MANY]


def test_the_same_number_is_published_again_only_for_a_newcomer() -> None:
    channels = Channels()
    channels.change(here=2)
    channels.after(SECONDS)
    channels.change(elsewhere=1)
    channels.elsewhere -= 1
    assert channels.after(SECONDS) == []
    channels.change(here=-1)
    channels.change(here=1)
    assert channels.after(SECONDS) == [2]


def test_a_channel_without_subscribers_here_is_forgotten() -> None:
    channels = Channels()
    channels.change(elsewhere=5)
    assert (channels.due, len(channels.counts)) == ([], 0)
    channels.change(here=1)
    assert channels.after(SECONDS) == [6]
    channels.change(here=-1)
    assert (channels.after(SECONDS), len(channels.counts)) == ([], 0)
    assert channels.reported == [6]


def test_large_channels_are_written_in_slices() -> None:
    channels = Channels()
    channels.slices = 3
    channels.change(here=1)
    assert channels.after(0.0) == [1]
    channels.counts.changed("other")
    assert channels.due == []
