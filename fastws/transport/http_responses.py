"""The writing half of an HTTP connection: responses, keep-alive, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fastws.admission.gate import Gate
from fastws.errors import FastWSError
from fastws.transport.closed_transport import CLOSED
from fastws.transport.counted_socket import CountedSocket
from fastws.transport.services import TransportServices
from fastws.wire.http_reader import HttpReader, Request, render_response
from fastws.wire.response import Response

MAX_HEADER_BYTES: Final = 16_384
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 2_097_152

ErrorResponse = Callable[[FastWSError], Response]


class HttpResponder(CountedSocket):
    """Writes responses and decides what follows: the next request, an idle wait, or the end."""

    __slots__ = (
        "error_response",
        "is_answering",
        "is_blocked",
        "is_idle",
        "lingering",
        "reader",
        "services",
        "transport",
    )

    def __init__(
        self,
        services: TransportServices,
        gate: Gate,
        error_response: ErrorResponse,
        max_body_bytes: int,
        *,
        is_internal: bool,
    ) -> None:
        super().__init__(gate, services.lifecycle, is_internal=is_internal)
        self.services = services
        self.error_response = error_response
        self.reader = HttpReader(MAX_HEADER_BYTES, max_body_bytes)
        # Whether a response (or an upgrade) is being prepared: the next request waits for it.
        self.is_answering = False
        # Whether the peer does not read its responses.
        self.is_blocked = False
        # Whether the connection waits for the next request after a response.
        self.is_idle = False
        # Number of bytes that are still discarded after the last response; None before that.
        self.lingering: int | None = None
        self.transport: asyncio.Transport

    def next_turn(self) -> None:
        """Serve the next pipelined request, or read on."""
        if self.is_answering or self.is_blocked or self.transport.is_closing():
            return
        self.transport.resume_reading()
        self.data_received(b"")

    def has_ended(self) -> bool:
        """Whether nobody waits for a response: the peer has closed, or the last response is written."""
        return self.transport.is_closing() or self.lingering is not None

    def write_response(self, request: Request, response: Response) -> None:
        """Write `response` to `request`, then continue with the next request or close."""
        gate = self.gate
        seconds = gate.keep_alive_seconds
        keep_alive = self.reader.may_reuse and seconds > 0 and not gate.is_leaving and self.lingering is None
        headers = list(response.headers)
        if keep_alive:
            headers += (("Connection", "keep-alive"), ("Keep-Alive", f"timeout={int(seconds)}"))
        head = request.method == "HEAD"
        self.transport.write(render_response(response.status, headers, response.body, keep_alive=keep_alive, head=head))
        if not keep_alive:
            self._close()
            return
        self._await_request()
        if self.reader.has_more:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.next_turn)
        elif not self.is_blocked:
            self.transport.resume_reading()

    def refuse(self, error: FastWSError) -> None:
        """Answer with `error` and close: after an error it is unclear where the next request begins."""
        self.services.lifecycle.refused(error, self.address)
        response = self.error_response(error)
        self.transport.write(render_response(response.status, list(response.headers), response.body, keep_alive=False))
        self._close()

    def _await_request(self) -> None:
        """After a response, wait for the next request.

        A request that has begun to arrive, or that is not read yet, has `handshake_timeout`, as the first one has.
        """
        if self.reader.has_more or self.is_blocked:
            self.services.heartbeat.abort_after(self, self.gate.handshake_seconds)
        else:
            self._start_idling()

    def _start_idling(self) -> None:
        self.is_idle = True
        if self.share and self.address != self.peer:
            self.count_for_nobody()  # until the proxy names the client of its next request
        self.gate.capacity.add_idle(self, self.share or "")
        self.services.heartbeat.abort_after(self, self.gate.keep_alive_seconds)

    def stop_idling(self) -> None:
        """The next request has begun to arrive."""
        self.is_idle = False
        self.gate.capacity.remove_idle(self)
        self.services.heartbeat.forget(self)
        self.services.heartbeat.abort_after(self, self.gate.handshake_seconds)

    def was_left(self) -> None:
        """Does nothing: a peer that does not read its response needs no record."""

    def was_cut(self) -> None:
        """Does nothing: a client whose response is incomplete sees that by its length."""

    def evict(self) -> None:
        """Close this idle connection, because another one needs its place."""
        self.is_idle = False
        self.leave()
        if self.transport.can_write_eof() or self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()  # TLS would wait for the peer's close_notify

    def pause_writing(self) -> None:
        """The peer does not read its responses: serve no further request until it does."""
        self.is_blocked = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer has read its responses: serve its next request."""
        self.is_blocked = False
        if not (self.is_answering or self.reader.has_more or self.lingering is not None):
            self.services.heartbeat.forget(self)
            self._start_idling()
            self.transport.resume_reading()
        else:
            self.next_turn()

    def _close(self) -> None:
        """Close so that the response arrives: first our half, then the rest when the peer has closed or after a while.

        A close with unread bytes resets the connection and may destroy the response (RFC 9112 section 9.6).
        """
        if self.transport.is_closing():
            return
        if self.lingering is None and self.transport.can_write_eof():
            self.lingering = LINGER_BYTES
            self.transport.write_eof()
            self.transport.resume_reading()
            self.services.heartbeat.abort_after(self, LINGER_SECONDS)
        else:
            self.transport.close()

    def eof_received(self) -> bool:
        """The peer sends no further request. A response that is being prepared is still written."""
        if not self.is_answering:
            return False
        self.lingering = 0
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.leave()
        if self.is_idle:
            self.gate.capacity.remove_idle(self)
        self.services.heartbeat.forget(self)
        self.transport = CLOSED
