"""Detects dead connections without giving up slow ones."""

from __future__ import annotations

import asyncio
import logging

from websockets.asyncio.client import ClientConnection

log = logging.getLogger("fastws.client")


class TimedConnection(ClientConnection):
    """Records when bytes last arrived. A pong waits behind a large message on a slow link, but the bytes of that
    message already show that the connection is alive. While it `is_paused`, the client does not read on purpose."""

    received_at = 0.0
    is_paused = False

    def data_received(self, data: bytes) -> None:
        self.received_at = self.loop.time()
        super().data_received(data)

    def resumed(self) -> None:
        self.is_paused = False
        self.received_at = self.loop.time()


async def keep_alive(connection: TimedConnection, interval_seconds: float, timeout_seconds: float | None) -> None:
    """Send a ping after each `interval_seconds` of silence, and abort the connection if no byte arrives within
    `timeout_seconds` of a ping (None: never)."""
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(max(0.0, connection.received_at + interval_seconds - clock()))
        if connection.is_paused:
            await asyncio.sleep(interval_seconds)
            continue
        if clock() - connection.received_at < interval_seconds:
            continue
        pinged_at = clock()
        ping = asyncio.create_task(connection.ping())  # this waits while the peer does not read
        await asyncio.sleep(interval_seconds if timeout_seconds is None else timeout_seconds)
        ping.cancel()
        await asyncio.gather(ping, return_exceptions=True)
        if timeout_seconds is not None and connection.received_at < pinged_at and not connection.is_paused:
            log.warning("no byte arrived within %g s of a ping; the connection is aborted", timeout_seconds)
            connection.transport.abort()
            return
