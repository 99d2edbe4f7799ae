"""Draining: who is connected is sent away evenly over time, and what is being answered is answered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from fastws.admission.gate import Gate
from fastws.session.services import Services

log = structlog.stdlib.get_logger("fastws.drain")

# For the last ones' answers to their close, beyond the time over which all are told.
ANSWER_SECONDS: Final = 1.0
# Who was accepted when a successor took over, and has not asked for anything yet, may come in for so long.
ENTERING_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.02


async def drain(services: Services, gate: Gate, *, seconds: float, is_replaced: bool) -> None:
    """Close every client with 1012 over `seconds`, no more than their number / `seconds` in any second; at once where
    nobody is connected. Twice is once. Who does not answer its close holds it up for ANSWER_SECONDS at most.

    `is_replaced`: another process listens on our sockets, and ours are closed. Whoever reached us before that is
    served as ever, for nobody is to be refused. Otherwise no upgrade is let in from now on.
    """
    if gate.is_leaving:
        return
    gate.is_leaving = True
    gate.is_draining = not is_replaced
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds + ANSWER_SECONDS
    await _close_all(services, seconds)
    if is_replaced:
        await _accept_pending_upgrades(gate, min(deadline, loop.time() + ENTERING_SECONDS))
        gate.is_draining = True
        await _close_all(services, 0.0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await gate.until_empty()
            await services.heartbeat.until_done()


async def _close_all(services: Services, seconds: float) -> None:
    clients = list(services.roster)
    if not clients:
        return
    log.info("draining", connections=len(clients), seconds=seconds)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    reason = f"restart; reconnect in 0-{max(1, round(seconds))} s"
    for position, client in enumerate(clients):
        due = begun + seconds * position / len(clients)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        services.hub.tick.flush_all()
        client.end(1012, reason, label="drain")


async def _accept_pending_upgrades(gate: Gate, deadline: float) -> None:
    """Until nobody is left who was accepted and has not asked; of those amid a TLS handshake nobody knows how many."""
    loop = asyncio.get_running_loop()
    # Who was accepted in this very turn of the loop is counted in the next.
    await asyncio.sleep(LOOK_SECONDS)
    while (gate.capacity.sockets or gate.is_tls) and loop.time() < deadline:  # noqa: ASYNC110 sockets leave on a hot path, which sets no event
        await asyncio.sleep(LOOK_SECONDS)
