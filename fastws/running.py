"""Running a server as a process: until a signal says stop, then drained, or at once when it says so again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from fastws.server import Server


async def serve_until_told(server: Server, ready: Callable[[], None]) -> None:
    """Start `server`, call `ready`, serve until SIGTERM or SIGINT; a second signal cuts the drain short."""
    stopping, hurrying = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurrying if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with server:
        ready()
        await stopping.wait()
        draining = asyncio.create_task(server.drain())
        hurry = asyncio.create_task(hurrying.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurry):
            task.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)
