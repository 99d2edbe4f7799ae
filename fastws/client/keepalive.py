"""Finding out that a connection is dead, without giving up one that is only slow."""

from __future__ import annotations

import asyncio
import logging

from websockets.asyncio.client import ClientConnection

log = logging.getLogger("fastws.client")


class TimedConnection(ClientConnection):
    """Remembers when bytes last arrived. A large message on a slow link takes longer than any ping, whose pong comes
    after it; its bytes show that the server is there."""

    received_at = 0.0

    def data_received(self, data: bytes) -> None:
        self.received_at = self.loop.time()
        super().data_received(data)


async def keep_alive(connection: TimedConnection, interval_seconds: float, timeout_seconds: float | None) -> None:
    """Ping after each `interval_seconds` of silence, and abort the connection when not one byte arrives for
    `timeout_seconds` after a ping (None: never)."""
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(max(0.0, connection.received_at + interval_seconds - clock()))
        if clock() - connection.received_at < interval_seconds:
            continue
        pinged_at = clock()
        ping = asyncio.create_task(connection.ping())  # it waits as long as the peer takes no bytes
        await asyncio.sleep(interval_seconds if timeout_seconds is None else timeout_seconds)
        ping.cancel()
        await asyncio.gather(ping, return_exceptions=True)
        if timeout_seconds is not None and connection.received_at < pinged_at:
            log.warning("nothing arrived for %g s after a ping: the connection is given up", timeout_seconds)
            connection.transport.abort()
            return
