"""What the clients of one process have in common: the plan, the counts, and who is to be woken."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from fastws.bench.dialing import Dialer, Link
from fastws.bench.frames import Reading
from fastws.bench.histogram import Histogram
from fastws.bench.plan import Plan

NEVER: Final = 1 << 62
# Dials under way at once in one process.
INFLIGHT: Final = 128
# A client that lost its connection comes back after up to this long, at random, as the browser client does.
RECONNECT_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.25


class Group:
    """The receivers of one channel in this process, and what they heard last: mostly the same bytes."""

    __slots__ = ("channel", "recent")

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.recent: list[Reading] = []


class Crew:
    """Shared by the clients of one process. Counts only grow; `take_from` and `take_until` bound what is measured."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self.dialer = Dialer(plan)
        self.groups = {channel: Group(channel) for channel in range(plan.channels)}
        self.latencies = Histogram()
        self.every = 1
        self.take_from = NEVER
        self.take_until = 0
        self.deliveries = 0
        self.missing = 0
        self.repeated = 0
        self.ready = 0
        self.failed = 0
        self.reconnects = 0
        self.slow_closed = 0
        self.slow_missing = 0
        # The moment from which `returns` counts how long everybody took to be subscribed again; 0: nobody was cut.
        self.cut_ns = 0
        self.returns = Histogram()
        self.notices: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.is_over = False
        # Called once, when `deliveries` reaches `wake_at`: the closed loop's publisher.
        self.wake_at = NEVER
        self.wake: Callable[[], None] = lambda: None
        self._dialing = asyncio.Semaphore(INFLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()

    def measure(self, begin_ns: int, end_ns: int, every: int) -> None:
        """Take the latency of each `every`-th message that is due between the two moments."""
        self.latencies = Histogram()
        self.take_from, self.take_until, self.every = begin_ns, end_ns, every
        for group in self.groups.values():
            group.recent.clear()

    def cut_at(self, moment_ns: int) -> None:
        """Whoever becomes ready from now on was away since then."""
        self.cut_ns = moment_ns
        self.returns = Histogram()

    async def open_all(self, links: list[tuple[int, Link]], *, rate: float) -> None:
        """Dial for all `links`, `rate` a second (0: as fast as they are answered)."""
        waiting = iter(links)
        began = self.loop.time()
        taken = 0

        async def dial_some() -> None:
            nonlocal taken
            for index, link in waiting:
                taken += 1
                if rate and (ahead := began + taken / rate - self.loop.time()) > 0:
                    await asyncio.sleep(ahead)
                await self.open(index, link)

        await asyncio.gather(*(dial_some() for _ in range(min(INFLIGHT, len(links)))))

    async def open(self, index: int, link: Link) -> None:
        """Dial for one, INFLIGHT at a time: else a storm's requests would come seconds behind their connections."""
        try:
            async with self._dialing:
                await self.dialer.dial(index, link, small_buffer=self.plan.is_slow(index))
        except OSError as error:
            link.refused(os.strerror(error.errno) if error.errno else str(error))

    def reopen(self, index: int, link: Link, *, retry: bool = False) -> None:
        """Dial again for a client that lost its connection, in a moment."""

        async def dial() -> None:
            await self.open(index, link)

        self.again(dial, least_seconds=RETRY_SECONDS if retry else 0.0)

    def again(self, open_: Callable[[], Awaitable[None]], *, least_seconds: float = 0.0) -> None:
        """Call `open_` in a moment; again while it raises OSError."""
        if self.is_over:
            return
        task = self.loop.create_task(self._again(open_, least_seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self, open_: Callable[[], Awaitable[None]], least_seconds: float) -> None:
        while True:
            await asyncio.sleep(least_seconds + random.random() * RECONNECT_SECONDS)  # noqa: S311 # spreads load only
            try:
                await open_()
            except OSError:
                least_seconds = RETRY_SECONDS
            else:
                return

    def end(self) -> None:
        self.is_over = True
        for task in self._tasks:
            task.cancel()


def now_ns() -> int:
    """CLOCK_MONOTONIC, the same in every process of this machine."""
    return time.monotonic_ns()
