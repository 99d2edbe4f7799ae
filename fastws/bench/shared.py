"""State shared by the clients of one process: the plan, the counters and the connector."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from fastws.bench.connector import Client, Connector
from fastws.bench.frames import ParsedFrames
from fastws.bench.histogram import Histogram
from fastws.bench.plan import Plan

NEVER: Final = 1 << 62
# Connection attempts that one process makes at the same time.
CONCURRENT_CONNECTS: Final = 128
# A client reconnects after a random delay of up to this long, as the browser client does.
RECONNECT_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.25


class Group:
    """The receivers of one channel in this process, and the last frames they received: mostly the same bytes."""

    __slots__ = ("channel", "recent")

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.recent: list[ParsedFrames] = []


class Shared:
    """Shared by the clients of one process. Counters only grow; latencies are taken between `measure_from` and
    `measure_until`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self.connector = Connector(plan)
        self.groups = {channel: Group(channel) for channel in range(plan.channels)}
        self.latencies = Histogram()
        self.every = 1
        self.measure_from = NEVER
        self.measure_until = 0
        self.deliveries = 0
        self.missing = 0
        self.repeated = 0
        self.ready = 0
        self.failed = 0
        self.reconnects = 0
        self.slow_closed = 0
        self.slow_missing = 0
        # The start of the times in `reconnect_times`; 0: no connection was closed on purpose.
        self.lost_at_ns = 0
        self.reconnect_times = Histogram()
        self.notices: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.is_closing = False
        # Called once when `deliveries` reaches `wake_at`: wakes the publisher of the closed loop.
        self.wake_at = NEVER
        self.wake: Callable[[], None] = lambda: None
        self._connecting = asyncio.Semaphore(CONCURRENT_CONNECTS)
        self._tasks: set[asyncio.Task[None]] = set()

    def measure(self, begin_ns: int, end_ns: int, every: int) -> None:
        """Take the latency of every `every`-th message that is due between the two times."""
        self.latencies = Histogram()
        self.measure_from, self.measure_until, self.every = begin_ns, end_ns, every
        for group in self.groups.values():
            group.recent.clear()

    def mark_lost(self, moment_ns: int) -> None:
        """Measure from `moment_ns` how long clients take to be subscribed again."""
        self.lost_at_ns = moment_ns
        self.reconnect_times = Histogram()

    async def open_all(self, clients: list[tuple[int, Client]], *, rate: float) -> None:
        """Connect all `clients`, `rate` per second (0: as fast as the server answers)."""
        waiting = iter(clients)
        began = self.loop.time()
        count = 0

        async def connect_some() -> None:
            nonlocal count
            for index, client in waiting:
                count += 1
                if rate and (ahead := began + count / rate - self.loop.time()) > 0:
                    await asyncio.sleep(ahead)
                await self.open(index, client)

        await asyncio.gather(*(connect_some() for _ in range(min(CONCURRENT_CONNECTS, len(clients)))))

    async def open(self, index: int, client: Client) -> None:
        """Connect one client.

        CONCURRENT_CONNECTS bounds the attempts: without it, thousands of connections would wait seconds for their
        requests to be written.
        """
        try:
            async with self._connecting:
                await self.connector.connect(index, client, small_buffer=self.plan.is_slow(index))
        except OSError as error:
            client.refused(os.strerror(error.errno) if error.errno else str(error))

    def reopen(self, index: int, client: Client, *, retry: bool = False) -> None:
        """Reconnect a client after a random delay."""

        async def connect() -> None:
            await self.open(index, client)

        self.retry(connect, least_seconds=RETRY_SECONDS if retry else 0.0)

    def retry(self, open_: Callable[[], Awaitable[None]], *, least_seconds: float = 0.0) -> None:
        """Call `open_` after a random delay, and again while it raises OSError."""
        if self.is_closing:
            return
        task = self.loop.create_task(self._retry(open_, least_seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _retry(self, open_: Callable[[], Awaitable[None]], least_seconds: float) -> None:
        while True:
            await asyncio.sleep(least_seconds + random.random() * RECONNECT_SECONDS)  # noqa: S311 # spreads load only
            try:
                await open_()
            except OSError:
                least_seconds = RETRY_SECONDS
            else:
                return

    def close(self) -> None:
        self.is_closing = True
        for task in self._tasks:
            task.cancel()


def now_ns() -> int:
    """CLOCK_MONOTONIC, which all processes of a machine share."""
    return time.monotonic_ns()
