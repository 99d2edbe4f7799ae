"""The heartbeat: one timer for all connections. Pings, idle timeouts, deadlines, token expiry, loop lag."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import structlog

from fastws.counters import Counters
from fastws.hub.roster import Roster
from fastws.session.ports import Peer
from fastws.transport.unfinished import UnfinishedMessages

if TYPE_CHECKING:
    from fastws.transport.outbox import Outbox
    from fastws.transport.websocket import Connection

log = structlog.stdlib.get_logger("fastws.heartbeat")

BEAT_SECONDS: Final = 0.25
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
# Offset of tcpi_bytes_acked in Linux's struct tcp_info (since 4.1), an unsigned integer of 8 bytes.
BYTES_ACKED_AT: Final = 120
BYTES_ACKED_SIZE: Final = 8


class Ending(Protocol):
    """A connection that must be closed by a deadline."""

    @property
    def transport(self) -> asyncio.Transport:
        """The transport to abort."""
        ...

    def was_cut(self) -> None:
        """The connection was reset, and data that the peer had not received was thrown away."""
        ...

    def was_left(self) -> None:
        """The process ends, and it depends on the kernel and the peer whether the rest of the data is delivered."""
        ...


def reset(transport: asyncio.Transport) -> bool:
    """Close a connection immediately, with a reset if the peer has not received everything.

    A close, and also uvloop's abort, would keep up to 4 MB of send buffer in the kernel for minutes, waiting for a peer
    that does not read. A peer that has received everything sees an ordinary end. Returns whether it had not.
    """
    is_cut = transport.get_write_buffer_size() > 0
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # the socket is closed already
            if _unsent(connection.fileno()):
                is_cut = True
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
    return is_cut


def _unsent(descriptor: int) -> int:
    """Return the number of bytes that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    waiting: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    return waiting


def _reset(ending: Ending) -> None:
    if reset(ending.transport):
        ending.was_cut()


class ReadProgress(NamedTuple):
    """A peer's progress in receiving: bytes it has `taken` in total, and bytes that are still `waiting` for it."""

    taken: int
    waiting: int

    def is_advancing(self, before: ReadProgress) -> bool:
        """Whether the peer has received some, but not all, of the bytes that were waiting at `before`.

        A peer that has received all of them has received our ping, too, and must answer it: a kernel that still takes
        a few bytes now and then does not prove that its program is alive.
        """
        return before.taken < self.taken < before.taken + before.waiting


NOTHING_WAITING: Final = ReadProgress(0, 0)


def read_progress(transport: asyncio.Transport, outbox: Outbox | None) -> ReadProgress:
    """Return the progress of one peer, by the bytes that its kernel has acknowledged.

    Where the system does not report these, the bytes that our kernel has taken count. Only called for peers that have
    not answered a ping: 4 µs if nothing is waiting, 25 µs otherwise.
    """
    held = transport.get_write_buffer_size()
    queued, taken = (0, 0) if outbox is None else (outbox.size, outbox.taken)
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # the socket is closed already
            unsent = _unsent(connection.fileno())
            acknowledged = _acknowledged(connection) if held + queued + unsent else None
            if acknowledged is not None:
                return ReadProgress(acknowledged, held + queued + unsent)
    return ReadProgress(taken - held, held + queued) if held + queued else NOTHING_WAITING


def _acknowledged(connection: socket.socket) -> int | None:
    """Return the bytes that the peer's kernel has acknowledged in total; None where the system does not report it."""
    size = BYTES_ACKED_AT + BYTES_ACKED_SIZE
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size) if sys.platform == "linux" else b""
    return int.from_bytes(info[BYTES_ACKED_AT:], sys.byteorder) if len(info) == size else None


class Heartbeat:
    """Checks every connection once per round. The connections of a round are spread evenly over its beats.

    A round takes half of `ping_seconds` or a quarter of `idle_seconds`, whichever is shorter. Also aborts connections
    whose deadline for the handshake or the close has passed, and closes connections whose token has expired or whose
    message does not arrive.
    """

    def __init__(
        self,
        roster: Roster,
        counters: Counters,
        *,
        ping_seconds: float,
        idle_seconds: float,
        max_message_bytes: int = 0,
    ) -> None:
        self.unfinished = UnfinishedMessages(max_message_bytes)
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
        self._expiries: dict[Peer, float] = {}
        # Progress, as of the last round, of connections that have not answered a ping and have data waiting.
        self._progress: dict[Connection, ReadProgress] = {}
        # When the probes of connections end, and how many seconds they take.
        self._probes: dict[Connection, tuple[float, float]] = {}
        # Only connections are in there, and there are rarely any.
        self._rarely_used: tuple[dict[Any, Any], ...] = (self._expiries, self._progress, self._probes)
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.now = time.monotonic()

    def start(self) -> None:
        """Start the timer."""
        self._schedule()

    def stop(self) -> None:
        """Cancel the timer."""
        if self._handle is not None:
            self._handle.cancel()

    def abort_after(self, ending: Ending, seconds: float) -> None:
        """Abort `ending` unless `forget` is called within `seconds`. The earliest deadline counts."""
        deadline = time.monotonic() + seconds
        self._endings[ending] = min(deadline, self._endings.get(ending, deadline))

    def forget(self, ending: Ending) -> None:
        """Cancel the deadline and the token expiry of `ending`."""
        self._endings.pop(ending, None)
        for table in self._rarely_used:
            if table:
                table.pop(ending, None)

    def abort_all(self) -> None:
        """Abort all connections that have a deadline.

        What the kernel has taken completely, with the close frame at its end, is still delivered, unless the peer sends
        something before it has read it: then the kernel resets the connection. Without a reset it stays in the kernel
        for a minute or two at most if the peer does not read.
        """
        for ending in list(self._endings):
            if ending.transport.get_write_buffer_size():
                _reset(ending)
                continue
            connection = ending.transport.get_extra_info("socket")
            if connection is not None and connection.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):  # the socket is closed already
                    if _unsent(connection.fileno()):
                        ending.was_left()
            ending.transport.abort()

    def watch_expiry(self, peer: Peer, expires_at: float) -> None:
        """Close `peer` with 4401 at `expires_at` (seconds since the epoch). A later call replaces the time."""
        self._expiries[peer] = expires_at

    def watch_probe(self, connection: Connection, seconds: float) -> bool:
        """Call `end_probe` of `connection` unless it has sent something within `seconds`.

        Returns False if a probe is under way already.
        """
        if connection in self._probes:
            return False
        self._probes[connection] = (time.monotonic() + seconds, seconds)
        self.is_catching_up(connection)  # from now on
        return True

    def is_catching_up(self, connection: Connection) -> bool:
        """Whether `connection` is still receiving data that was queued a round ago, and has made progress since."""
        before = self._progress.pop(connection, NOTHING_WAITING)
        now = read_progress(connection.transport, connection.outbox)
        if now.waiting:
            self._progress[connection] = now
        return now.is_advancing(before)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + BEAT_SECONDS
        self._handle = loop.call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        self.now = time.monotonic()
        self._counters.loop_lag.observe(max(asyncio.get_running_loop().time() - self._due, 0.0))
        try:
            self._abort_overdue()
            self._close_expired()
            self.unfinished.close_overdue(self.now)
            # Before the round, which makes every connection a round more silent.
            self._check_probes()
            self._check_some()
        except Exception:
            log.exception("internal error in the heartbeat")
        self._schedule()

    def _abort_overdue(self) -> None:
        overdue = [ending for ending, deadline in self._endings.items() if deadline <= self.now]
        for ending in overdue:
            del self._endings[ending]
            _reset(ending)

    def _close_expired(self) -> None:
        wall = time.time()
        expired = [connection for connection, at in self._expiries.items() if at <= wall]
        for connection in expired:
            del self._expiries[connection]
            connection.expire()

    def _check_probes(self) -> None:
        for connection, (deadline, seconds) in list(self._probes.items()):
            if not connection.silent or connection.is_gone:
                del self._probes[connection]
            elif deadline <= self.now and not connection.end_probe():
                self._probes[connection] = (self.now + seconds, seconds)

    def _check_some(self) -> None:
        """Check the connections of this beat."""
        if self._beats_left <= 0:
            everyone = list(self._roster)
            self._round = iter(everyone)  # type: ignore[arg-type] # the roster contains Connections
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
                connection.check_liveness(self._rounds_until_idle, pings=self._pings)
