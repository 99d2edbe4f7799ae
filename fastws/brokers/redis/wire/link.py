"""A link: one connection to Redis that is opened again, with backoff and full jitter, whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from fastws.brokers.redis.wire.address import RedisAddress
from fastws.brokers.redis.wire.handshake import Refused, dial

FIRST_DELAY_SECONDS: Final = 0.1
MAX_DELAY_SECONDS: Final = 4.0
# A connection that held this long was a good one: after its loss the delays begin small again.
STEADY_SECONDS: Final = 1.0
# A Redis that lets us in and then cuts us off is alive: no delay over 0.8 s, so that it is heard again within 1 s.
MAX_FAILURES_WHEN_ALIVE: Final = 3

_log = structlog.get_logger("fastws.redis")


class Linked(Protocol):
    """An asyncio protocol that outlives its connections: from `connected` to `connection_lost`."""

    # Set by the link, to be called at the end of connection_lost with the reason.
    on_lost: Callable[[str], None]

    def connected(self, transport: asyncio.Transport, client_id: int | None) -> None:
        """Redis has let us in; `client_id` is its number for this connection."""
        ...


class RedisLink:
    """Keeps a protocol connected to `address`. Logs what happens once per change, not once per attempt."""

    def __init__(self, address: RedisAddress, protocol: Linked, role: str, *, name: str) -> None:
        self.is_connected = False
        self.attempts = 0
        self._address = address
        self._protocol = protocol
        self._role = role
        self._name = name
        self._hurry = asyncio.Event()
        self._failures = 0
        self._told = ""

    async def run(self) -> None:
        """Connect, wait for the end, connect again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            reason = await self._one_connection()
            if self.is_connected:
                was_steady = loop.time() - began >= STEADY_SECONDS
                self._failures = 0 if was_steady else min(self._failures, MAX_FAILURES_WHEN_ALIVE)
            self.is_connected = False
            self._tell(reason)
            await self._pause()

    def reconnect_now(self) -> None:
        """Redis was just seen alive: try now, whatever the backoff."""
        self._hurry.set()

    async def _one_connection(self) -> str:
        """One attempt, and the connection's whole life where it succeeds; the reason for its end."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.attempts += 1
        try:
            transport, client_id = await dial(self._address, self._name)
        except TimeoutError:
            return "no answer"
        except (OSError, Refused, ValueError) as error:
            return str(error) or type(error).__name__
        self._protocol.on_lost = lambda reason: None if ended.done() else ended.set_result(reason)
        transport.set_protocol(self._protocol)  # type: ignore[arg-type]
        self.is_connected = True
        self._told = ""
        _log.info("redis connected", role=self._role, address=str(self._address))
        self._protocol.connected(transport, client_id)
        try:
            return await ended
        finally:
            # Where the link itself is cancelled the connection is still open.
            transport.abort()

    async def _pause(self) -> None:
        """Full jitter: between nothing and the bound, so that a thousand processes don't come back as one."""
        bound = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), random.uniform(0.0, bound))  # noqa: S311 no secret

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            _log.warning("redis unavailable", role=self._role, address=str(self._address), reason=reason)
