"""Draining: closes all clients evenly over the drain period, and lets requests in progress finish."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from fastws.admission.gate import Gate
from fastws.hub.hub import Hub
from fastws.hub.roster import Client, Roster

log = structlog.stdlib.get_logger("fastws.drain")

# Time for the last clients to answer their close frame, after the drain period.
ANSWER_SECONDS: Final = 1.0
# Time for sockets that were accepted before another process took over to send their upgrade request.
ENTERING_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.02


async def drain(
    roster: Roster,
    hub: Hub,
    gate: Gate,
    tasks_done: Callable[[], Awaitable[None]],
    *,
    seconds: float,
    is_replaced: bool,
) -> None:
    """Close all clients with 1012, evenly over `seconds`, those with a blocked socket first. Idempotent.

    Closes idle HTTP connections first, and waits up to ANSWER_SECONDS for close frames and `tasks_done`. `is_replaced`:
    another process listens on our sockets, and ours are closed. Connections accepted before may still be upgraded, so
    that no client is refused. Otherwise all upgrades are refused from now on.
    """
    if gate.is_leaving:
        return
    gate.is_leaving = True
    gate.is_draining = not is_replaced
    gate.capacity.close_idle()
    deadline = asyncio.get_running_loop().time() + seconds + ANSWER_SECONDS
    await _close_all(roster, hub, seconds)
    if is_replaced:
        await _accept_pending_upgrades(gate, deadline)
        gate.is_draining = True
        await _close_all(roster, hub, 0.0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await gate.until_empty()
            await tasks_done()


async def _close_all(roster: Roster, hub: Hub, seconds: float) -> None:
    clients = list(roster)
    if not clients:
        return
    log.info("draining", connections=len(clients), seconds=seconds)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    reason = f"restart; reconnect in 0-{max(1, round(seconds))} s"
    waiting = deque(clients)
    position = 0
    while _next(roster, waiting) is not None:
        due = begun + seconds * min(position / len(clients), 1.0)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        client = _next(roster, waiting)
        if client is not None:
            hub.flush_channels_of(client)
            client.end(1012, reason, label="drain")
        position += 1


def _next(roster: Roster, waiting: deque[Client]) -> Client | None:
    """Return a client whose socket is blocked now, else the first one in `waiting` that is still there.

    The close frame of a blocked client waits behind its queue, so that client needs the rest of the drain period most.
    """
    while waiting and waiting[0].is_gone:
        waiting.popleft()
    return next(iter(roster.blocked), waiting[0] if waiting else None)


async def _accept_pending_upgrades(gate: Gate, deadline: float) -> None:
    """Wait until no accepted socket has an upgrade request left to send, at most ENTERING_SECONDS.

    Ends at `deadline` (loop time) at the latest.
    """
    loop = asyncio.get_running_loop()
    deadline = min(deadline, loop.time() + ENTERING_SECONDS)
    # Sockets accepted in this loop turn are counted in the next one.
    await asyncio.sleep(POLL_SECONDS)
    while gate.capacity.sockets and loop.time() < deadline:  # noqa: ASYNC110 sockets leave on a hot path, which sets no event
        await asyncio.sleep(POLL_SECONDS)
