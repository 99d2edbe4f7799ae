"""Running a server as a process: until a signal says stop, then drained, or at once when it says so again."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

from fastws.admission.capacity import raise_descriptor_limit
from fastws.resolver import resolve
from fastws.server.exit import LATE_SECONDS, end_within, hurry, hurry_on_signals
from fastws.server.server import Server

T = TypeVar("T")

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
        if self.stopping.is_set():
            self.hurrying.set()
            hurry()
        self.stopping.set()

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


class Loop(uvloop.Loop):
    """uvloop, but names are looked up by our resolver.

    libuv's has four threads, of which lookups take two at a time: nothing else is found while a name server is silent,
    and neither the loop's nor the process's end goes past a thread that waits for one. Hooks and the HTTP client
    (JWKS, callbacks) look up by this as well.
    """

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 the name that it has in asyncio
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        return await resolve(host, port, family=family, type=type, proto=proto, flags=flags)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if host is None or options.get("sock") is not None:
            return await super().create_connection(protocol_factory, host, port, **options)
        asked = {name: options.pop(name) for name in ("family", "proto", "flags") if name in options}
        if options.get("ssl"):
            options["server_hostname"] = options.get("server_hostname") or host
        failure: OSError = OSError(f"{host} has no address")
        for found in await resolve(host, port, **asked):
            address, number, *_ = found.address
            try:
                return await super().create_connection(protocol_factory, address, number, **options)
            except OSError as error:
                failure = error
        raise failure


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a loop of ours, in a process of ours."""
    return uvloop.run(main, loop_factory=Loop)


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
    try:
        if await _is_started(server, orders):
            _tune_gc()
            ready()
            await orders.stopping.wait()
            end_within(server.config.drain_timeout + LATE_SECONDS)
            await _drain(server, orders)
    finally:
        end_within()
        await server.stop()
    hurry_on_signals()
    return orders.is_orphan


async def _is_started(server: Server, orders: Shutdown) -> bool:
    """Start `server`. False: it was told to stop before that was done."""
    starting, stopping = asyncio.create_task(server.start()), asyncio.create_task(orders.stopping.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        await starting
        return True
    starting.cancel()
    await asyncio.wait((starting,))
    return False


async def _drain(server: Server, orders: Shutdown) -> None:
    """Until everybody has left, or the second signal comes."""
    draining = asyncio.create_task(server.drain(is_replaced=orders.is_replaced))
    hurrying = asyncio.create_task(orders.hurrying.wait())
    await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, hurrying):
        task.cancel()
    outcome, _ = await asyncio.gather(draining, hurrying, return_exceptions=True)
    if isinstance(outcome, Exception):
        log.error("error of ours while draining", exc_info=outcome)


def _tune_gc() -> None:
    """What lives now lives for good: the collector need not look at it again. For a process that is ours alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
