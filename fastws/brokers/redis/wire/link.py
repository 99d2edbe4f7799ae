"""A link: one connection to Redis, reopened with backoff and full jitter whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from fastws.backoff import Backoff
from fastws.brokers.redis.wire.handshake import Refused, dial
from fastws.redis_address import RedisAddress

FIRST_DELAY_SECONDS: Final = 0.1
MAX_DELAY_SECONDS: Final = 4.0
# Of two links to one Redis, one leads: after some failures it tries again after this time and a random part of the
# next, so that all processes notice that Redis is there again before one that publishes gives up waiting for those that
# have heard the channel (VOUCH_SECONDS of the history). Both together try less than twice a second.
LEADING_SECONDS: Final = 0.5
LEADING_SPREAD_SECONDS: Final = 0.4
# After the loss of a connection that lasted this long, the delays start small again.
STEADY_SECONDS: Final = 1.0
# A Redis that accepts a connection and then closes it is alive: the delay stays within 0.8 s, so that messages arrive
# again within 1 s.
MAX_FAILURES_WHEN_ALIVE: Final = 3
# Reasons that are logged between two connections.
MAX_REASONS: Final = 8

_log = structlog.get_logger("fastws.redis")


class Linked(Protocol):
    """An asyncio protocol that is used for one connection after another, each from `connected` to `connection_lost`."""

    # Set by the link. The protocol calls `on_ready` when the connection has proved to be usable, and `on_lost` at the
    # end of connection_lost, with the reason.
    on_ready: Callable[[], None]
    on_lost: Callable[[str], None]

    def connected(self, transport: asyncio.Transport, client_id: int | None) -> None:
        """The handshake has succeeded. `client_id` is the number that Redis gave this connection, None if unknown."""
        ...


class RedisLink:
    """Keeps a protocol connected to `address`. Logs each change of state once, not each attempt.

    A connection counts as connected in the log when the protocol calls `on_ready`: a Redis that accepts connections but
    refuses what they are for would otherwise be connected and unavailable several times a second.
    """

    def __init__(
        self, address: RedisAddress, protocol: Linked, role: str, *, name: str, is_leading: bool = False
    ) -> None:
        self.is_connected = False
        self.attempts = 0
        self._address = address
        self._protocol = protocol
        self._role = role
        self._name = name
        self._reconnect_now = asyncio.Event()
        # The time limit of the attempt under way.
        self._attempt: asyncio.Timeout | None = None
        self._has_moved = False
        self._is_leading = is_leading
        self._backoff = Backoff(FIRST_DELAY_SECONDS, LEADING_SPREAD_SECONDS if is_leading else MAX_DELAY_SECONDS)
        # Since the last connection.
        self._logged_reasons: set[str] = set()

    async def run(self) -> None:
        """Connect, wait until the connection is lost, connect again; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            reason = await self._one_connection()
            if self.is_connected:
                was_steady = loop.time() - began >= STEADY_SECONDS
                self._backoff.reset(0 if was_steady else MAX_FAILURES_WHEN_ALIVE)
            self.is_connected = False
            self._log_loss(reason)
            await self._pause()

    def reconnect_now(self) -> None:
        """Skip the present delay: another connection has just found Redis alive."""
        self._reconnect_now.set()

    def move(self, address: RedisAddress) -> None:
        """Connect to `address` from now on: an attempt under way is given up. The caller closes the connection."""
        self._address = address
        self._has_moved = True
        self._backoff.reset()
        if self._attempt is not None:
            self._attempt.reschedule(0.0)
        self._reconnect_now.set()

    async def _one_connection(self) -> str:
        """Make one attempt and wait for the end of the connection. Return why it failed or ended."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.attempts += 1
        self._has_moved = False
        try:
            async with asyncio.timeout(None) as self._attempt:
                transport, client_id = await dial(self._address, self._name)
        except TimeoutError:
            return "no answer"
        except (OSError, Refused, ValueError) as error:
            return str(error) or type(error).__name__
        finally:
            self._attempt = None
        self._protocol.on_ready = self._log_ready
        self._protocol.on_lost = lambda reason: None if ended.done() else ended.set_result(reason)
        transport.set_protocol(self._protocol)  # type: ignore[arg-type]
        self.is_connected = True
        self._protocol.connected(transport, client_id)
        try:
            return await ended
        finally:
            # If the link itself is cancelled, the connection is still open.
            transport.abort()

    async def _pause(self) -> None:
        """Wait for the backoff. The jitter keeps a thousand processes from reconnecting at the same moment."""
        self._reconnect_now.clear()
        if self._has_moved:
            return
        with contextlib.suppress(TimeoutError):
            # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the event.
            is_slow = self._is_leading and self._backoff.failures >= MAX_FAILURES_WHEN_ALIVE
            async with asyncio.timeout(self._backoff.next_seconds(LEADING_SECONDS if is_slow else 0.0)):
                await self._reconnect_now.wait()

    def _log_ready(self) -> None:
        self._logged_reasons.clear()
        _log.info("redis connected", role=self._role, address=str(self._address))

    def _log_loss(self, reason: str) -> None:
        """Log each reason once: the same failure may be seen as one or the other, as chance has it."""
        if reason not in self._logged_reasons and len(self._logged_reasons) < MAX_REASONS:
            self._logged_reasons.add(reason)
            _log.warning("redis unavailable", role=self._role, address=str(self._address), reason=reason)
