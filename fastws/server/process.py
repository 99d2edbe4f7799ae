"""Running a server as a process: until a signal says stop, then drained, or at once when it says so again."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable

import structlog

from fastws.admission.capacity import raise_descriptor_limit
from fastws.server.server import Server

log = structlog.stdlib.get_logger("fastws.running")

# Nothing on the path of a message makes a cycle, so the collector finds next to nothing: it looks after every
# 20,000 more objects than were freed (some 2,000 connections), and seldom at everything.
GC_THRESHOLDS = (20_000, 10, 50)


class Shutdown:
    """What signals have said up to now: to stop, to stop at once, to make room for a successor."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.hurrying = asyncio.Event()
        self.is_replaced = False
        self.is_orphan = False

    def stop(self) -> None:
        """SIGTERM, SIGINT: drain; the second time leave at once."""
        (self.hurrying if self.stopping.is_set() else self.stopping).set()

    def hand_over(self) -> None:
        """SIGUSR2: another process listens on our sockets by now, and takes who comes."""
        self.is_replaced = True
        self.stopping.set()

    def supervisor_lost(self, lifeline: int) -> None:
        """The supervisor is gone without a word: leave the port to the one that comes next."""
        asyncio.get_running_loop().remove_reader(lifeline)
        log.error("the supervisor is gone: leaving too")
        self.is_orphan = True
        self.hand_over()


async def serve_until_told(server: Server, ready: Callable[[], None], *, lifeline: int | None = None) -> bool:
    """Start `server`, call `ready`, serve until SIGTERM or SIGINT; a second signal cuts the drain short.

    SIGHUP reads the certificate again, SIGUSR1 turns debug lines on and off. `lifeline` is the reading end of a pipe
    that ends with our supervisor. Returns whether it has.
    """
    raise_descriptor_limit()
    orders = Shutdown()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, orders.stop)
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    loop.add_signal_handler(signal.SIGUSR1, server.log_level.toggle_debug)
    if lifeline is not None:
        loop.add_signal_handler(signal.SIGUSR2, orders.hand_over)
        loop.add_reader(lifeline, orders.supervisor_lost, lifeline)
    async with server:
        _tune_gc()
        ready()
        await orders.stopping.wait()
        draining = asyncio.create_task(server.drain(is_replaced=orders.is_replaced))
        hurry = asyncio.create_task(orders.hurrying.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurry):
            task.cancel()
        outcome, _ = await asyncio.gather(draining, hurry, return_exceptions=True)
        if isinstance(outcome, Exception):
            log.error("error of ours while draining", exc_info=outcome)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    ignore_signals()
    return orders.is_orphan


def ignore_signals() -> None:
    """On the way out one more signal changes nothing: Python gives it its default meaning there, exit code and all."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _tune_gc() -> None:
    """What lives now lives for good: the collector need not look at it again. For a process that is ours alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
