"""Running a server in its own process: a signal drains and stops it, a second one stops it at once."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

from fastws.admission.capacity import raise_descriptor_limit
from fastws.resolver import getaddrinfo, resolve
from fastws.server.exit import LATE_SECONDS, end_within, hurry, hurry_on_signals
from fastws.server.freed_memory import FreedMemory
from fastws.server.server import Server
from fastws.server.systemd import Notifier

T = TypeVar("T")

log = structlog.stdlib.get_logger("fastws.running")

HURRY_HINT = "a second SIGINT (Ctrl-C) or SIGTERM stops at once"
# Handling messages creates no reference cycles, so collections find almost nothing. Young objects are collected per
# 20,000 net allocations (about 2,000 connections), all objects rarely.
GC_THRESHOLDS = (20_000, 10, 50)


class Shutdown:
    """Requests received as signals: to stop, to stop at once, or to hand over to a new worker."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.hurrying = asyncio.Event()
        self.is_replaced = False
        self.is_orphan = False

    def stop(self) -> None:
        """Drain after SIGTERM or SIGINT; exit at once after a second signal."""
        if self.stopping.is_set():
            self.hurrying.set()
            hurry()
        self.stopping.set()

    def hand_over(self) -> None:
        """Drain after SIGUSR2: a new worker listens on our sockets and accepts new connections."""
        self.is_replaced = True
        self.stopping.set()

    def supervisor_lost(self, lifeline: int) -> None:
        """Drain because the supervisor has exited, and free the port for its successor."""
        asyncio.get_running_loop().remove_reader(lifeline)
        log.error("supervisor has exited: this worker stops")
        self.is_orphan = True
        self.hand_over()


class Loop(uvloop.Loop):
    """uvloop with our resolver.

    libuv runs at most two lookups at a time in its four threads: while a name server does not answer, nothing else
    is resolved, and neither the loop nor the process can end. Hooks and the HTTP client (JWKS, callbacks) use this
    resolver as well.
    """

    getaddrinfo = getaddrinfo

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if host is None or options.get("sock") is not None:
            return await super().create_connection(protocol_factory, host, port, **options)
        asked = {name: options.pop(name) for name in ("family", "proto", "flags") if name in options}
        if options.get("ssl"):
            options["server_hostname"] = options.get("server_hostname") or host
        failure: OSError = OSError(f"no address found for {host}")
        for found in await resolve(host, port, **asked):
            address, number, *_ = found.address
            try:
                return await super().create_connection(protocol_factory, address, number, **options)
            except OSError as error:
                failure = error
        raise failure


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on our event loop."""
    return uvloop.run(main, loop_factory=Loop)


async def serve_until_stopped(
    server: Server, ready: Callable[[], None], *, lifeline: int | None = None, notifier: Notifier | None = None
) -> bool:
    """Start `server`, call `ready`, and serve until SIGTERM or SIGINT; a second signal cuts the drain short.

    SIGHUP reloads the certificate, SIGUSR1 turns debug logging on and off. `lifeline` is the read end of a pipe that
    the supervisor keeps open. `notifier` reports to systemd. Returns whether the supervisor has exited.
    """
    raise_descriptor_limit()
    shutdown = Shutdown()
    _handle_signals(server, shutdown, lifeline, notifier)
    try:
        if await _start(server, shutdown):
            _tune_gc()
            FreedMemory(lambda: len(server.roster)).start()
            ready()
            _feed_watchdog(notifier)
            await shutdown.stopping.wait()
            end_within(server.config.drain_timeout + LATE_SECONDS)
            if notifier is not None:
                notifier.stopping()
                log.info("stopping", drain_seconds=server.config.drain_timeout, hint=HURRY_HINT)
            await _drain(server, shutdown)
    finally:
        end_within()
        await server.stop()
    hurry_on_signals()
    if notifier is not None:
        log.info("stopped")
    return shutdown.is_orphan


def _handle_signals(server: Server, shutdown: Shutdown, lifeline: int | None, notifier: Notifier | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shutdown.stop)
    loop.add_signal_handler(signal.SIGHUP, _reload, server, notifier)
    loop.add_signal_handler(signal.SIGUSR1, server.log_level.toggle_debug)
    if lifeline is not None:
        loop.add_signal_handler(signal.SIGUSR2, shutdown.hand_over)
        loop.add_reader(lifeline, shutdown.supervisor_lost, lifeline)


def _reload(server: Server, notifier: Notifier | None) -> None:
    if notifier is not None:
        notifier.reloading()
    server.reload()
    if notifier is not None:
        notifier.ready(f"listening on {server.url}")


def _feed_watchdog(notifier: Notifier | None) -> None:
    """Report to systemd's watchdog from the event loop, so that a loop that hangs is noticed."""
    if notifier is not None and notifier.watchdog_seconds is not None:
        notifier.watchdog()
        asyncio.get_running_loop().call_later(notifier.watchdog_seconds, _feed_watchdog, notifier)


async def _start(server: Server, shutdown: Shutdown) -> bool:
    """Start `server`. Returns False if a signal stopped it before it was started."""
    starting, stopping = asyncio.create_task(server.start()), asyncio.create_task(shutdown.stopping.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        await starting
        return True
    starting.cancel()
    await asyncio.wait((starting,))
    return False


async def _drain(server: Server, shutdown: Shutdown) -> None:
    """Drain until all clients have disconnected or a second signal arrives."""
    draining = asyncio.create_task(server.drain(is_replaced=shutdown.is_replaced))
    hurrying = asyncio.create_task(shutdown.hurrying.wait())
    await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, hurrying):
        task.cancel()
    outcome, _ = await asyncio.gather(draining, hurrying, return_exceptions=True)
    if isinstance(outcome, Exception):
        log.error("internal error while draining", exc_info=outcome)


def _tune_gc() -> None:
    """Exclude all objects of the start from garbage collection, since they live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
