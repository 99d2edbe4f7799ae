"""The heartbeat: one timer for all connections. Pings, idle and stuck connections, token expiry, loop lag."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from fastws.counters import Counters
from fastws.hub.roster import Roster

if TYPE_CHECKING:
    from fastws.transport.websocket import Connection

log = structlog.stdlib.get_logger("fastws.heartbeat")

BEAT_SECONDS: Final = 0.25
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Ending(Protocol):
    """Something with a socket that must be gone by a deadline."""

    @property
    def transport(self) -> asyncio.Transport: ...


def reset(transport: asyncio.Transport) -> None:
    """End a connection at once: with a reset where the peer has not taken everything, so that the kernel forgets it.

    A close, and uvloop's abort too, would leave up to 4 MB of send buffer behind for minutes, waiting for a peer that
    does not read. Who has read everything sees an ordinary end.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it is gone already
            if _has_unsent(connection.fileno()):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


def _has_unsent(descriptor: int) -> bool:
    """Whether the kernel holds bytes that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    waiting: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    return waiting > 0


class Heartbeat:
    """Every connection is looked at once a round; a round takes half the ping interval, spread evenly over its beats.

    `endings` are sockets that have until a deadline (monotonic seconds) to be gone: handshakes and closes.
    """

    def __init__(self, roster: Roster, counters: Counters, *, ping_seconds: float, idle_seconds: float) -> None:
        self._roster = roster
        self._counters = counters
        wanted = [seconds for seconds in (ping_seconds / 2, idle_seconds / 4) if seconds > 0]
        self.round_seconds = max(min(wanted, default=30.0), BEAT_SECONDS)
        self._rounds_until_idle = max(1, round(idle_seconds / self.round_seconds)) if idle_seconds > 0 else 1 << 30
        self._pings = ping_seconds > 0
        self._round: Iterator[Connection] = iter(())
        self._left_in_round = 0
        self._beats_left = 0
        self._endings: dict[Ending, float] = {}
        self._expiries: dict[Connection, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.now = time.monotonic()

    def start(self) -> None:
        self._schedule()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        for task in self._tasks:
            task.cancel()

    def expect_end(self, ending: Ending, seconds: float) -> None:
        """Abort `ending` unless it is gone in `seconds`."""
        deadline = time.monotonic() + seconds
        self._endings[ending] = min(deadline, self._endings.get(ending, deadline))

    def forget(self, ending: Ending) -> None:
        """`ending` is gone, or has got what it waited for."""
        self._endings.pop(ending, None)
        self._expiries.pop(ending, None)  # type: ignore[call-overload] # only connections are in there

    def abort_all(self) -> None:
        """Abort whatever is still ending."""
        for ending in list(self._endings):
            reset(ending.transport)

    def watch_expiry(self, connection: Connection, expires_at: float) -> None:
        """Close `connection` with 4401 when its token is over (`expires_at`: seconds since the epoch)."""
        self._expiries[connection] = expires_at

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` beside the loop; it ends with the server at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def until_done(self) -> None:
        """Return when nothing that was spawned is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("error of ours in a task", exc_info=error)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + BEAT_SECONDS
        self._handle = loop.call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        self.now = time.monotonic()
        self._counters.loop_lag.observe(max(asyncio.get_running_loop().time() - self._due, 0.0))
        try:
            self._end_overdue()
            self._close_expired()
            self._look_at_some()
        except Exception:
            log.exception("error of ours in the heartbeat")
        self._schedule()

    def _end_overdue(self) -> None:
        overdue = [ending for ending, deadline in self._endings.items() if deadline <= self.now]
        for ending in overdue:
            del self._endings[ending]
            reset(ending.transport)

    def _close_expired(self) -> None:
        wall = time.time()
        expired = [connection for connection, at in self._expiries.items() if at <= wall]
        for connection in expired:
            del self._expiries[connection]
            connection.expire()

    def _look_at_some(self) -> None:
        """This beat's share of the round."""
        if self._beats_left <= 0:
            everyone = list(self._roster)
            self._round = iter(everyone)  # type: ignore[arg-type] # our own roster holds Connections
            self._left_in_round = len(everyone)
            self._beats_left = max(1, round(self.round_seconds / BEAT_SECONDS))
        share = -(-self._left_in_round // self._beats_left)
        self._left_in_round -= share
        self._beats_left -= 1
        for _ in range(share):
            connection = next(self._round, None)
            if connection is None:
                return
            if not connection.is_gone:
                connection.check_life(self._rounds_until_idle, pings=self._pings)
