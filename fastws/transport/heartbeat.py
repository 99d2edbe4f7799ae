"""The heartbeat: one timer for all connections. Pings, idle and stuck connections, token expiry, loop lag."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
import time
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from fastws.counters import Counters
from fastws.hub.roster import Roster

if TYPE_CHECKING:
    from fastws.transport.outbox import Outbox
    from fastws.transport.websocket import Connection

log = structlog.stdlib.get_logger("fastws.heartbeat")

BEAT_SECONDS: Final = 0.25
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
# Where Linux has tcpi_bytes_acked in its struct tcp_info (since 4.1), an unsigned integer of 8 bytes.
BYTES_ACKED_AT: Final = 120
BYTES_ACKED_SIZE: Final = 8


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
            if _unsent(connection.fileno()):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


def _unsent(descriptor: int) -> int:
    """The bytes that the kernel holds because the peer has not acknowledged them (tcp(7), SIOCOUTQ)."""
    waiting: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    return waiting


class Uptake(NamedTuple):
    """How far a peer has come with what it was sent: bytes it has `taken` in all, and bytes that still wait for it."""

    taken: int
    waiting: int

    def is_going_on(self, before: Uptake) -> bool:
        """Whether the peer took something since `before`, but not yet all that waited then.

        Who has taken all that has our ping, too, and is to answer it: that its kernel takes a few bytes now and then
        says nothing of a program that hangs.
        """
        return before.taken < self.taken < before.taken + before.waiting


NOTHING_WAITS: Final = Uptake(0, 0)


def uptake(transport: asyncio.Transport, outbox: Outbox | None) -> Uptake:
    """The uptake of one peer. What its kernel has acknowledged counts; where that is not known, what ours has taken.

    Paid by who has not answered a ping: 4 µs where nothing waits, 25 µs where something does.
    """
    held = transport.get_write_buffer_size()
    queued, taken = (0, 0) if outbox is None else (outbox.size, outbox.taken)
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it is gone already
            unsent = _unsent(connection.fileno())
            acknowledged = _acknowledged(connection) if held + queued + unsent else None
            if acknowledged is not None:
                return Uptake(acknowledged, held + queued + unsent)
    return Uptake(taken - held, held + queued) if held + queued else NOTHING_WAITS


def _acknowledged(connection: socket.socket) -> int | None:
    """The bytes that the peer's kernel has acknowledged so far; None where the system does not say."""
    size = BYTES_ACKED_AT + BYTES_ACKED_SIZE
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size) if sys.platform == "linux" else b""
    return int.from_bytes(info[BYTES_ACKED_AT:], sys.byteorder) if len(info) == size else None


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
        # Of those who have not answered a ping while something waited for them, as of the last round.
        self._uptakes: dict[Connection, Uptake] = {}
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
        self._uptakes.pop(ending, None)  # type: ignore[call-overload] # as above

    def abort_all(self) -> None:
        """Abort whatever is still ending."""
        for ending in list(self._endings):
            reset(ending.transport)

    def watch_expiry(self, connection: Connection, expires_at: float) -> None:
        """Close `connection` with 4401 when its token is over (`expires_at`: seconds since the epoch)."""
        self._expiries[connection] = expires_at

    def is_taking(self, connection: Connection) -> bool:
        """Whether `connection` is at what waited for it a round ago, and has got on since."""
        before = self._uptakes.pop(connection, NOTHING_WAITS)
        now = uptake(connection.transport, connection.outbox)
        if now.waiting:
            self._uptakes[connection] = now
        return now.is_going_on(before)

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
