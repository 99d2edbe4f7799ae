"""The HTTP side of the port: reads requests, hands upgrades to the gate and the rest to the endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, cast

import structlog

from fastws.access.proxies import UNIX
from fastws.connection.context import Context
from fastws.connection.gate import Gate
from fastws.errors import FastWSError, Unavailable
from fastws.vocabulary.response import Response
from fastws.wire.http_messages import HttpReader, Request, render_response
from fastws.wire.proxy_protocol import read_proxy_header

log = structlog.stdlib.get_logger("fastws.http")

MAX_HEADER_BYTES: Final = 16_384
LINGER_SECONDS: Final = 2.0

Endpoints = Callable[[Request, str], "Response | Awaitable[Response]"]
ErrorResponse = Callable[[FastWSError], Response]


class HttpConnection(asyncio.Protocol):
    """A connection until it is upgraded. One request is answered at a time; pipelined ones wait their turn."""

    __slots__ = (
        "_accepted_at",
        "_answering",
        "_context",
        "_endpoints",
        "_error_response",
        "_gate",
        "_is_internal",
        "_peer",
        "_proxy_header",
        "_reader",
        "address",
        "transport",
    )

    def __init__(
        self,
        context: Context,
        gate: Gate,
        endpoints: Endpoints,
        error_response: ErrorResponse,
        max_body_bytes: int,
        *,
        is_internal: bool = False,
    ) -> None:
        """`is_internal`: the peer is one of our own processes."""
        self._context = context
        self._gate = gate
        self._endpoints = endpoints
        self._error_response = error_response
        self._reader = HttpReader(MAX_HEADER_BYTES, max_body_bytes)
        self._answering = False
        self._is_internal = is_internal
        # Made when the socket is accepted, `connection_made` when TLS is up: the time of both counts.
        self._accepted_at = time.monotonic()
        # What has come of the PROXY protocol's header; None where none is expected, or no longer.
        self._proxy_header: bytes | None = None
        self._peer = ""
        self.address = ""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, though they have their methods.
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = self.address = peer[0] if isinstance(peer, tuple) else UNIX
        gate = self._gate
        gate.capacity.sockets += 1
        if gate.capacity.is_exhausted and not self._is_internal:
            gate.capacity.refused()
            self._refuse(Unavailable("the server is full; come again later", reason="full", retry_after_seconds=5))
            self.transport.close()
            return
        if gate.expects_proxy_header(self._peer) and not self._is_internal:
            self._proxy_header = b""
        spent = time.monotonic() - self._accepted_at
        self._context.heartbeat.expect_end(self, gate.handshake_seconds - spent)

    def _await_request(self) -> None:
        """From accept or the answer before, a whole request has `handshake_timeout` to arrive."""
        self._context.heartbeat.expect_end(self, self._gate.handshake_seconds)

    def data_received(self, data: bytes) -> None:
        try:
            if self._proxy_header is not None:
                data = self._read_proxy_header(self._proxy_header + data)
            self._reader.feed(data)
            if not self._answering:
                self._next_request()
        except FastWSError as error:
            self._refuse(error)
        except Exception:
            log.exception("error of ours", address=self.address)
            self._refuse(FastWSError("internal error"))

    def _read_proxy_header(self, data: bytes) -> bytes:
        """What follows the PROXY protocol's header, which says who the client is; nothing until it is complete."""
        header = read_proxy_header(data)
        if header is None:
            self._proxy_header = data
            return b""
        self._proxy_header = None
        self._peer = self.address = header.source or self._peer
        return data[header.size :]

    def _next_request(self) -> None:
        while not self._answering and not self.transport.is_closing():
            request = self._reader.next_request()
            if request is None:
                if self._reader.expects_continue:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._context.heartbeat.forget(self)
            if not self._is_internal:
                self.address = self._gate.client_address(request, self._peer)
                self._gate.check_host(request)
            if request.is_upgrade:
                self._upgrade(request)
                return
            self._answer(request)

    def _upgrade(self, request: Request) -> None:
        connection = self._gate.admit(request, self.transport, self.address)
        self._gate.capacity.sockets -= 1
        rest = self._reader.trailing()
        self.transport.set_protocol(connection)
        if rest:
            connection.data_received(rest)

    def _answer(self, request: Request) -> None:
        answer = self._endpoints(request, self.address)
        if isinstance(answer, Response):
            self._write(request, answer)
            return
        self._answering = True
        self.transport.pause_reading()
        self._context.heartbeat.spawn(self._answer_later(request, answer))

    async def _answer_later(self, request: Request, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except FastWSError as error:
            response = self._error_response(error)
        except Exception:
            log.exception("error of ours", address=self.address, path=request.path)
            response = self._error_response(FastWSError("internal error"))
        if self.transport.is_closing():
            return
        self._answering = False
        self._write(request, response)
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self.data_received(b"")

    def _write(self, request: Request, response: Response) -> None:
        keep_alive = self._reader.may_reuse and not self._gate.is_draining
        self.transport.write(
            render_response(
                response.status,
                list(response.headers),
                response.body,
                keep_alive=keep_alive,
                head=request.method == "HEAD",
            )
        )
        if keep_alive:
            self._await_request()
        else:
            self._close()

    def _refuse(self, error: FastWSError) -> None:
        """Answer what cannot be served, and close: after an error the next request's beginning is not certain."""
        self._gate.count_refusal(error)
        response = self._error_response(error)
        self.transport.write(render_response(response.status, list(response.headers), response.body, keep_alive=False))
        self._close()

    def _close(self) -> None:
        """Close so that the answer arrives: first our half, then, when the peer has closed too or soon, the rest.

        A close with unread bytes would reset the connection and could take the answer with it (RFC 9112 section 9.6).
        """
        if self.transport.is_closing():
            return
        self._reader = _Closed()  # type: ignore[assignment] # takes bytes, gives nothing
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._context.heartbeat.expect_end(self, LINGER_SECONDS)
        else:
            self.transport.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.capacity.sockets -= 1
        self._context.heartbeat.forget(self)


class _Closed:
    """The reader of a connection that is being closed: bytes are read so that no reset is sent, and let go."""

    expects_continue = False
    may_reuse = False

    def feed(self, data: bytes) -> None:
        pass

    def next_request(self) -> None:
        return None
