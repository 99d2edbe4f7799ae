"""The HTTP side of the port: reads requests, hands upgrades to the gate and the rest to the endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

import structlog

from fastws.admission.admission import Admission
from fastws.admission.gate import Gate
from fastws.callouts.event_hook import EventHook
from fastws.errors import FastWSError, NotFound
from fastws.session.ports import Spawn
from fastws.transport.counted_socket import CountedSocket, peer_of
from fastws.transport.opening import Opening
from fastws.transport.services import TransportServices
from fastws.wire.http_reader import HttpReader, Request, render_response
from fastws.wire.proxy_protocol import read_proxy_header
from fastws.wire.response import Response

log = structlog.stdlib.get_logger("fastws.http")

MAX_HEADER_BYTES: Final = 16_384
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 2_097_152

ErrorResponse = Callable[[FastWSError], Response]


class Endpoints(Protocol):
    """Who answers requests, from a client's address."""

    def __call__(self, request: Request, address: str) -> Response | Awaitable[Response]: ...

    def wants_body(self, request: Request, address: str) -> bool:
        """Whether the answer depends on the body of `request`, of which only the head is there."""
        ...


class HttpConnection(CountedSocket):
    """A connection until it is upgraded. One request is answered at a time; pipelined ones wait their turn."""

    __slots__ = (
        "_accepted_at",
        "_answering",
        "_endpoints",
        "_error_response",
        "_head",
        "_is_blocked",
        "_is_proxied",
        "_is_resting",
        "_lingering",
        "_opening",
        "_proxy_header",
        "_reader",
        "_services",
        "_spawn",
        "transport",
    )

    def __init__(
        self,
        services: TransportServices,
        gate: Gate,
        opening: Opening,
        endpoints: Endpoints,
        error_response: ErrorResponse,
        spawn: Spawn,
        max_body_bytes: int,
        *,
        is_internal: bool = False,
    ) -> None:
        """`is_internal`: the address is not for clients, so no upgrades, proxies and limits."""
        super().__init__(gate, services.lifecycle, is_internal=is_internal)
        self._services = services
        self._opening = opening
        self._spawn = spawn
        self._endpoints = endpoints
        self._error_response = error_response
        self._reader = HttpReader(MAX_HEADER_BYTES, max_body_bytes)
        self._answering = False
        self._is_blocked = False
        # Whether it had an answer, and has not begun its next request.
        self._is_resting = False
        # The request whose body is awaited, once its head was looked at.
        self._head: Request | None = None
        # Bytes that may still come after our last answer; None while there may be a next one.
        self._lingering: int | None = None
        # Made when the socket is accepted, `connection_made` when TLS is up: the time of both counts.
        self._accepted_at = time.monotonic()
        # What has come of the PROXY protocol's header; None where none is expected, or no longer.
        self._proxy_header: bytes | None = None
        self._is_proxied = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, though they have their methods.
        self.transport = cast(asyncio.Transport, transport)
        self.is_made = True
        gate = self._gate
        if self._share is None:
            peer = peer_of(transport)
            if peer is None:
                self.transport.abort()
                return
            refusal = self.enter(peer)
            if refusal is not None:
                self._refuse(refusal)
                self.transport.close()
                return
        if gate.expects_proxy_header(self._peer) and not self._is_internal:
            self._proxy_header = b""
        spent = time.monotonic() - self._accepted_at
        self._services.heartbeat.expect_end(self, gate.handshake_seconds - spent)

    def _await_request(self) -> None:
        """After an answer. What has begun to arrive, or is not being read, has `handshake_timeout`, as at first."""
        if self._reader.has_more or self._is_blocked:
            self._services.heartbeat.expect_end(self, self._gate.handshake_seconds)
        else:
            self._rest()

    def _rest(self) -> None:
        self._is_resting = True
        if self._share and self.address != self._peer:
            self._count_for_nobody()  # until the proxy says for whom it asks next
        self._gate.capacity.add_idle(self, self._share or "")
        self._services.heartbeat.expect_end(self, self._gate.keep_alive_seconds)

    def _wake(self) -> None:
        """The next request begins."""
        self._is_resting = False
        self._gate.capacity.remove_idle(self)
        self._services.heartbeat.forget(self)
        self._services.heartbeat.expect_end(self, self._gate.handshake_seconds)

    def evict(self) -> None:
        """Close a connection that waits for its next request: somebody needs its place."""
        self._is_resting = False
        self.leave()
        if self.transport.can_write_eof() or self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()  # TLS would wait for the peer's goodbye

    def data_received(self, data: bytes) -> None:
        if self._is_resting:
            self._wake()
        if self._lingering is not None:
            self._lingering -= len(data)
            if self._lingering < 0:
                self.transport.abort()
            return
        try:
            if self._proxy_header is not None:
                data = self._read_proxy_header(self._proxy_header + data)
            self._reader.feed(data)
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
        self._is_proxied = not header.is_own
        self._peer = self.address = header.source or self._peer
        if header.source is not None and self._gate.capacity.limits_addresses:
            self._count_for(header.source)
        return data[header.size :]

    def _next_request(self) -> None:
        """Serve one request. What is pipelined behind it waits for its answer, and for the next loop turn."""
        if self._answering or self._is_blocked or self.transport.is_closing():
            return
        request = self._reader.next_request()
        if request is None:
            head = self._reader.unfinished
            if head is not None and head is not self._head:
                self._look_at(head)
            return
        self._services.heartbeat.forget(self)
        if request is not self._head:
            self._identify(request)
        self._head = None
        self._serve(request)

    def _look_at(self, head: Request) -> None:
        """Keep the body that is to come only for who may send one there; others are answered without it."""
        self._head = head
        self._identify(head)
        if self._endpoints.wants_body(head, self.address):
            if self._reader.expects_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif not self._reader.discard_body():
            self._services.heartbeat.forget(self)
            self._serve(head)

    def _identify(self, request: Request) -> None:
        """Find out whose request this is. Raises Misdirected."""
        request.is_proxied = self._is_proxied
        if not self._is_internal:
            self.address = self._gate.client_address(request, self._peer)
            if self.address != self._peer and self._gate.capacity.limits_addresses:
                self._count_for(self.address)
            self._gate.check_host(request)

    def _serve(self, request: Request) -> None:
        if request.is_upgrade and self._is_internal:
            raise NotFound("no WebSocket is served here")
        if request.is_upgrade:
            self._upgrade(request)
        else:
            self._answer(request)

    def _next_turn(self) -> None:
        """Go on with what one read has brought, or with reading."""
        if self._answering or self._is_blocked or self.transport.is_closing():
            return
        self.transport.resume_reading()
        self.data_received(b"")

    def pause_writing(self) -> None:
        """The peer does not read its answers: no further request of it is served until it does."""
        self._is_blocked = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_blocked = False
        if not (self._answering or self._reader.has_more or self._lingering is not None):
            self._services.heartbeat.forget(self)
            self._rest()
            self.transport.resume_reading()
        else:
            self._next_turn()

    def _upgrade(self, request: Request) -> None:
        if self._gate.may_admit(request):
            self._admit(request)
            return
        self._answering = True
        self.transport.pause_reading()
        self._spawn(self._admit_in_turn(request))

    async def _admit_in_turn(self, request: Request) -> None:
        """Admit when it is this client's turn to have its token verified."""
        try:
            await self._gate.admission_turn(request)
            if self.transport.is_closing() or self._lingering is not None:
                self.transport.close()
                return
            self.transport.resume_reading()
            self._admit(request)
        except FastWSError as error:
            self._refuse(error)
        except Exception:
            log.exception("error of ours", address=self.address)
            self._refuse(FastWSError("internal error"))

    def _admit(self, request: Request) -> None:
        admission = self._gate.admit(request, self.address)
        hook = self._services.lifecycle.hook
        self._answering = True  # what comes is no longer ours to read
        if hook is None:
            self._open(admission)
        else:
            self.transport.pause_reading()
            self._spawn(self._upgrade_later(admission, hook))

    async def _upgrade_later(self, admission: Admission, hook: EventHook) -> None:
        """Upgrade when the application has agreed to it."""
        is_open = False
        try:
            await self._gate.ask_application(admission, hook)
            if self.transport.is_closing() or self._lingering is not None:
                self.transport.close()
                return
            self.transport.resume_reading()
            self._open(admission)
            is_open = True
        except FastWSError as error:
            self._refuse(error)
        except Exception:
            log.exception("error of ours", address=self.address)
            self._refuse(FastWSError("internal error"))
        finally:
            if not is_open:
                hook.disconnected(admission.connection_id, 1006, "never opened")

    def _open(self, admission: Admission) -> None:
        connection = self._opening.open(admission, self.transport)
        self.leave()
        rest = self._reader.trailing()
        if rest:
            connection.data_received(rest)

    def _answer(self, request: Request) -> None:
        answer = self._endpoints(request, self.address)
        if isinstance(answer, Response):
            self._write(request, answer)
            return
        self._answering = True
        # What waits is one read at most.
        self.transport.pause_reading()
        self._spawn(self._answer_later(request, answer))

    async def _answer_later(self, request: Request, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except FastWSError as error:
            response = self._error_response(error)
        except Exception:
            log.exception("error of ours", address=self.address, path=request.path)
            response = self._error_response(FastWSError("internal error"))
        self._answering = False
        if not self.transport.is_closing():
            self._write(request, response)

    def _write(self, request: Request, response: Response) -> None:
        gate = self._gate
        seconds = gate.keep_alive_seconds
        keep_alive = self._reader.may_reuse and seconds > 0 and not gate.is_leaving and self._lingering is None
        headers = list(response.headers)
        if keep_alive:
            headers += (("Connection", "keep-alive"), ("Keep-Alive", f"timeout={int(seconds)}"))
        self.transport.write(
            render_response(
                response.status,
                headers,
                response.body,
                keep_alive=keep_alive,
                head=request.method == "HEAD",
            )
        )
        if not keep_alive:
            self._close()
            return
        self._await_request()
        if self._reader.has_more:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._next_turn)
        elif not self._is_blocked:
            self.transport.resume_reading()

    def _refuse(self, error: FastWSError) -> None:
        """Answer what cannot be served, and close: after an error the next request's beginning is not certain."""
        self._services.lifecycle.refused(error, self.address)
        response = self._error_response(error)
        self.transport.write(render_response(response.status, list(response.headers), response.body, keep_alive=False))
        self._close()

    def _close(self) -> None:
        """Close so that the answer arrives: first our half, then, when the peer has closed too or soon, the rest.

        A close with unread bytes would reset the connection and could take the answer with it (RFC 9112 section 9.6).
        """
        if self.transport.is_closing():
            return
        if self._lingering is None and self.transport.can_write_eof():
            self._lingering = LINGER_BYTES
            self.transport.write_eof()
            self.transport.resume_reading()
            self._services.heartbeat.expect_end(self, LINGER_SECONDS)
        else:
            self.transport.close()

    def eof_received(self) -> bool:
        """The peer asks nothing more. An answer that is under way still goes out."""
        if not self._answering:
            return False
        self._lingering = 0
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        if self._is_resting:
            self._gate.capacity.remove_idle(self)
        self._services.heartbeat.forget(self)
