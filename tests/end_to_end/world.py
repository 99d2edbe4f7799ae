"""Our three clients on one channel, a publisher of numbers, and what the clients must have heard of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

from fastws.backend import Broadcaster
from tests.end_to_end.listeners import AsyncListener, Listener, NodeListener, ThreadedListener
from tests.hostile.server_process import BROADCAST_KEY
from tests.workers.supervised import Supervised

PACE_SECONDS = 0.01
FIRST = 3


class World:
    """A server of two workers, and the publisher of one test. All of its clients hear `channel`."""

    def __init__(self, server: Supervised, channel: str, listeners: Sequence[Listener]) -> None:
        self.server = server
        self.channel = channel
        self.listeners = listeners
        self.broadcaster = Broadcaster(f"http://127.0.0.1:{server.port}", BROADCAST_KEY, retry_seconds=60)
        self.published = 0

    def publish(self, numbers: int = 1) -> None:
        for _ in range(numbers):
            self.broadcaster.publish(self.channel, "e", {"n": self.published + 1})
            self.published += 1

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish one number after the other during the block."""
        is_over = threading.Event()

        def publish() -> None:
            while not is_over.wait(PACE_SECONDS):
                self.publish()

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def publish_some(self, numbers: int = 20) -> None:
        """Within `publishing`: wait until so many more are published."""
        before = self.published
        self.server.wait_until(lambda: self.published >= before + numbers)

    def wait_until(self, is_so: Callable[[Listener], object]) -> None:
        for listener in self.listeners:
            listener.wait_until(is_so)

    def hear_all(self) -> None:
        for listener in self.listeners:
            listener.wait_for(self.published)

    def assert_nothing_missed(self) -> None:
        self.publish()
        self.hear_all()
        for listener in self.listeners:
            assert listener.numbers == list(range(1, self.published + 1)), listener
            assert all(listener.recovered), listener

    def assert_gap_told(self) -> None:
        """Each number is heard once, with a gap before the first one that is published from now on."""
        lost_at = self.published
        self.wait_until(lambda listener: listener.gaps)
        self.publish(3)
        self.hear_all()
        for listener in self.listeners:
            assert [n for n in listener.numbers if n is not None] == list(range(1, self.published + 1)), listener
            assert listener.numbers[lost_at] is None, listener
            assert not any(listener.recovered), listener

    def hear_the_last(self) -> None:
        """Publish until all have heard it: what is published while a process does not hear Redis is told as a gap."""
        is_heard = False
        while not is_heard:
            gaps = [listener.gaps for listener in self.listeners]
            self.publish()
            for listener, before in zip(self.listeners, gaps, strict=True):
                listener.wait_until(lambda listener, n=before: self.published in listener.numbers or listener.gaps > n)
            is_heard = all(self.published in listener.numbers for listener in self.listeners)

    def assert_one_gap(self) -> None:
        """One gap notice was told, in the place of all that is missing."""
        self.hear_the_last()
        for listener in self.listeners:
            assert listener.gaps == 1, listener
            self._assert_told(listener)

    def assert_all_told(self) -> None:
        """Where numbers are missing or come again, there stands a gap notice."""
        self.hear_the_last()
        for listener in self.listeners:
            self._assert_told(listener)

    def _assert_told(self, listener: Listener) -> None:
        assert (listener.numbers[0], listener.numbers[-1]) == (1, self.published), listener
        for before, after in pairwise(listener.numbers):
            assert before is None or after in (None, before + 1), listener

    def assert_nobody_was_disconnected(self) -> None:
        assert not any(listener.recovered for listener in self.listeners)

    def assert_old_position_is_told(self, positions: dict[str, dict[str, object]]) -> None:
        """A client that comes back with a position from before the failure is told that it missed something."""
        late = AsyncListener(self.server.port, self.channel, positions)
        try:
            self.publish()
            late.wait_for(self.published)
            assert late.numbers == [None, self.published]
        finally:
            late.close()

    def position(self) -> dict[str, dict[str, object]]:
        """The position of a client that has heard everything so far."""
        early = AsyncListener(self.server.port, self.channel)
        self.publish()
        early.wait_for(self.published)
        early.close()
        return {channel: dict(position) for channel, position in early.positions.items()}


@contextmanager
def world_of(server: Supervised, channel: str, folder: Path) -> Iterator[World]:
    """The asyncio, the threaded and the JavaScript client, which have heard the first numbers. `folder` is node's."""
    with ExitStack() as stack:
        listeners: list[Listener] = []
        for make in (
            lambda: AsyncListener(server.port, channel),
            lambda: ThreadedListener(server.port, channel),
            lambda: NodeListener(server.port, channel, folder),
        ):
            listeners.append(make())
            stack.callback(listeners[-1].close)
        world = World(server, channel, listeners)
        stack.callback(world.broadcaster.close)
        # After the failure of the test before, a client may have joined while Redis was away, and is told a gap first.
        world.broadcaster.publish(channel, "e", {"n": 0})
        world.wait_until(lambda listener: listener.numbers)
        world.publish(FIRST)
        world.hear_all()
        for listener in listeners:
            del listener.numbers[: listener.numbers.index(1)]
        yield world
