"""An event loop of which a test decides when anything happens."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

Call = tuple[Callable[..., object], tuple[Any, ...]]


class Timer:
    def __init__(self, due: float) -> None:
        self._due = due
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def when(self) -> float:
        return self._due


class SteppedLoop:
    """Has what callbacks need of a loop. Its time stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: deque[Call] = deque()
        self._timers: list[tuple[float, int, Timer, Call]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *arguments: Any, context: object = None) -> Timer:
        self._soon.append((callback, arguments))
        return Timer(self.now)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        return self.call_at(self.now + delay, callback, *arguments)

    def call_at(self, due: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        timer = Timer(due)
        heapq.heappush(self._timers, (due, next(self._numbers), timer, (callback, arguments)))
        return timer

    def get_debug(self) -> bool:
        return False

    def run_soon(self) -> None:
        """Run what is due at once."""
        while self._soon:
            callback, arguments = self._soon.popleft()
            callback(*arguments)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass and run every timer at its time."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer, (callback, arguments) = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if not timer.is_cancelled:
                callback(*arguments)
                self.run_soon()
        self.now = end

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running loop, then run what has become due at once."""
        asyncio._set_running_loop(self)  # type: ignore[attr-defined]
        try:
            yield
            self.run_soon()
        finally:
            asyncio._set_running_loop(None)  # type: ignore[attr-defined]
