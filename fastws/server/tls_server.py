"""Listening for TLS: connections are accepted here and counted before their handshake, which costs the most."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from fastws.server.tls import Tls
from fastws.server.unix_socket import BACKLOG
from fastws.transport.counted_socket import CountedSocket, peer_name

log = structlog.stdlib.get_logger("fastws.tls")

# Accepted at a time, so that a storm of handshakes leaves turns to everybody else.
ACCEPTS_PER_TURN: Final = 16
# Without descriptors a listening socket stays readable: it is left alone for so long.
PAUSE_SECONDS: Final = 0.5
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

MakeSocket = Callable[[], CountedSocket]


class TlsServer:
    """Serves TLS on listening `sockets`. The loops' own servers tell nobody of a handshake before it is over."""

    def __init__(
        self,
        make: MakeSocket,
        tls: Tls,
        sockets: Sequence[socket.socket],
        *,
        handshake_seconds: float,
        shutdown_seconds: float,
    ) -> None:
        self.sockets = tuple(sockets)
        self._make = make
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._shutdown_seconds = shutdown_seconds
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        for listener in self.sockets:
            listener.settimeout(0)
            listener.listen(BACKLOG)
            self._listen(listener)

    def close(self) -> None:
        """Accept nobody any more; who was accepted goes on."""
        for listener in self.sockets:
            if listener.fileno() >= 0:
                self._loop.remove_reader(listener)
            if listener in self._pauses:
                self._pauses.pop(listener).cancel()
            listener.close()

    def abort(self) -> None:
        """Accept nobody any more, and end the handshakes under way."""
        self.close()
        for handshake in self._handshakes:
            handshake.cancel()

    def _listen(self, listener: socket.socket) -> None:
        self._pauses.pop(listener, None)
        self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # another worker was faster, or the client is gone
            except OSError as error:
                self._pause(listener, error)
                return
            self._begin(connection, address)

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        if error.errno not in EXHAUSTED:
            log.error("cannot accept a connection", error=str(error))
        self._loop.remove_reader(listener)
        self._pauses[listener] = self._loop.call_later(PAUSE_SECONDS, self._listen, listener)

    def _begin(self, connection: socket.socket, address: object) -> None:
        protocol = self._make()
        refusal = protocol.enter(peer_name(connection.family, address))
        if refusal is not None:
            # Nothing can be said before the handshake, and that is what shall not be paid for.
            connection.close()
            protocol.turn_away(refusal)
            return
        connection.settimeout(0)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handshake = self._loop.create_task(self._shake_hands(connection, protocol))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket, protocol: CountedSocket) -> None:
        try:
            # What fails is the client's affair: it has gone, speaks no TLS, or was too slow.
            with contextlib.suppress(OSError):
                await self._loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._tls.context,
                    ssl_handshake_timeout=self._handshake_seconds,
                    ssl_shutdown_timeout=self._shutdown_seconds,
                )
        finally:
            if not protocol.is_made:
                protocol.leave()
                connection.close()
