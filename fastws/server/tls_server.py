"""Listening for TLS: accepts connections and applies connection limits before the expensive TLS handshake."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from fastws.errors import BadRequest
from fastws.server.tls import Tls
from fastws.server.unix_socket import BACKLOG
from fastws.transport.counted_socket import CountedSocket, peer_name

log = structlog.stdlib.get_logger("fastws.tls")

# Connections accepted per loop iteration, so that a storm of handshakes does not delay other clients.
ACCEPTS_PER_TURN: Final = 16
# If descriptors run out, the listening socket stays readable: wait this long before the next accept.
PAUSE_SECONDS: Final = 0.5
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# The reasons of OpenSSL that occur most, as operators say them.
_CAUSES: Final = {
    "HTTP_REQUEST": "the client speaks plain HTTP",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client refuses the certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client finds the certificate expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client refuses the certificate",
    "UNSUPPORTED_PROTOCOL": "the client supports only versions before TLS 1.2",
    "NO_SHARED_CIPHER": "the client supports none of the ciphers",
}

MakeSocket = Callable[[], CountedSocket]


class TlsServer:
    """Serves TLS on listening `sockets`. asyncio and uvloop report a connection only after its handshake."""

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
        """Stop accepting connections. Accepted connections are kept."""
        for listener in self.sockets:
            if listener.fileno() >= 0:
                self._loop.remove_reader(listener)
            if listener in self._pauses:
                self._pauses.pop(listener).cancel()
            listener.close()

    def abort(self) -> None:
        """Stop accepting connections and cancel the handshakes in progress."""
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
                return  # another worker was faster, or the client has disconnected
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
            # A response would need the handshake, whose cost this refusal avoids.
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
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._tls.context,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=self._shutdown_seconds,
            )
        except OSError as error:  # the client disconnected, does not speak TLS, or timed out
            if not protocol.is_made:
                protocol.turn_away(BadRequest("the TLS handshake failed", reason="tls", cause=_cause(error)))
        finally:
            if not protocol.is_made:
                protocol.leave()
                connection.close()


def _cause(error: OSError) -> str:
    """Return what the log says about a handshake that failed with `error`."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return _CAUSES.get(error.reason) or error.reason.lower().replace("_", " ")
    if isinstance(error, ConnectionAbortedError):
        return "it was not finished within handshake_timeout"
    return "the client disconnected" if isinstance(error, ConnectionError) else type(error).__name__
