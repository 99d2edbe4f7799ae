"""Running a server as a process: until a signal says stop, then drained, or at once when it says so again."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable

from fastws.connection.capacity import raise_descriptor_limit
from fastws.server import Server

# Nothing on the path of a message makes a cycle, so the collector finds next to nothing: it looks after every
# 20,000 more objects than were freed (some 2,000 connections), and seldom at everything.
GC_THRESHOLDS = (20_000, 10, 50)


async def serve_until_told(server: Server, ready: Callable[[], None]) -> None:
    """Start `server`, call `ready`, serve until SIGTERM or SIGINT; a second signal cuts the drain short.

    SIGHUP reads the certificate again, SIGUSR1 turns debug lines on and off.
    """
    raise_descriptor_limit()
    stopping, hurrying = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurrying if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    loop.add_signal_handler(signal.SIGUSR1, server.log_level.toggle_debug)
    async with server:
        _quieten_the_collector()
        ready()
        await stopping.wait()
        draining = asyncio.create_task(server.drain())
        hurry = asyncio.create_task(hurrying.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurry):
            task.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)


def _quieten_the_collector() -> None:
    """What lives now lives for good: the collector need not look at it again. For a process that is ours alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
