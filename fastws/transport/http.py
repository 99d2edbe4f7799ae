"""The HTTP side of the port: reads requests, and passes them to the endpoints or to the gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Protocol

import structlog

from fastws.admission.gate import Gate
from fastws.errors import FastWSError, NotFound, UpgradeRequired
from fastws.session.ports import Spawn
from fastws.transport.counted_socket import peer_of
from fastws.transport.http_responses import ErrorResponse, HttpResponder
from fastws.transport.opening import Opening
from fastws.transport.services import TransportServices
from fastws.transport.upgrade import upgrade
from fastws.wire.http_reader import Request
from fastws.wire.proxy_protocol import read_proxy_header
from fastws.wire.response import Response

log = structlog.stdlib.get_logger("fastws.http")


class Endpoints(Protocol):
    """Answers requests. `address` is the client's."""

    def __call__(self, request: Request, address: str) -> Response | Awaitable[Response]: ...

    def route_of(self, request: Request) -> str:
        """Return the name of the route of `request`, for metrics and logs. The number of names is bounded."""
        ...

    def wants_body(self, request: Request, address: str) -> bool:
        """Whether the response depends on the body of `request`, of which only the head has been read."""
        ...


class HttpConnection(HttpResponder):
    """A connection until it is upgraded. Answers one request at a time; pipelined requests wait."""

    __slots__ = (
        "_accepted_at",
        "_endpoints",
        "_head",
        "_is_proxied",
        "_proxy_header",
        "opening",
        "spawn",
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
        """`is_internal`: the address is not for clients, so it has no upgrades, no proxies and no limits."""
        super().__init__(services, gate, error_response, max_body_bytes, is_internal=is_internal)
        self.opening = opening
        self.spawn = spawn
        self._endpoints = endpoints
        # The request whose head has been checked and whose body is awaited.
        self._head: Request | None = None
        # The object is made when the socket is accepted, `connection_made` is called after the TLS handshake. Both
        # together have `handshake_timeout`.
        self._accepted_at = time.monotonic()
        # What has arrived of the PROXY protocol header; None if none is expected, or no longer.
        self._proxy_header: bytes | None = None
        self._is_proxied = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the socket unless it is counted already, and start its `handshake_timeout`."""
        # uvloop's transports do not inherit from asyncio's, but have the same methods.
        self.transport = transport  # type: ignore[assignment] # see above
        self.is_made = True
        if self.share is None:
            peer = peer_of(transport)
            if peer is None:
                self.transport.abort()
                return
            refusal = self.enter(peer)
            if refusal is not None:
                self.refuse(refusal)
                self.transport.close()
                return
        if self.gate.expects_proxy_header(self.peer) and not self.is_internal:
            self._proxy_header = b""
        spent = time.monotonic() - self._accepted_at
        self.services.heartbeat.abort_after(self, self.gate.handshake_seconds - spent)

    def data_received(self, data: bytes) -> None:
        """Read and serve requests; after the last response, discard what still arrives."""
        if self.is_idle:
            self.stop_idling()
        if self.lingering is not None:
            self.lingering -= len(data)
            if self.lingering < 0:
                self.transport.abort()
            return
        try:
            if self._proxy_header is not None:
                data = self._read_proxy_header(self._proxy_header + data)
            self.reader.feed(data)
            self._next_request()
        except FastWSError as error:
            self.refuse(error)
        except Exception:
            log.exception("internal error", address=self.address)
            self.refuse(FastWSError("internal error"))

    def _read_proxy_header(self, data: bytes) -> bytes:
        """Read the PROXY protocol header, which names the client. Returns the bytes after it, none if incomplete."""
        header = read_proxy_header(data)
        if header is None:
            self._proxy_header = data
            return b""
        self._proxy_header = None
        self._is_proxied = not header.is_own
        self.peer = self.address = header.source or self.peer
        if header.source is not None and self.gate.capacity.limits_addresses:
            self.count_for(header.source)
        return data[header.size :]

    def _next_request(self) -> None:
        """Serve one request. Pipelined requests wait for its response and for the next loop turn."""
        if self.is_answering or self.is_blocked or self.transport.is_closing():
            return
        request = self.reader.next_request()
        if request is None:
            head = self.reader.unfinished
            if head is not None and head is not self._head:
                self._check_head(head)
            return
        self.services.heartbeat.forget(self)
        if request is not self._head:
            self._identify(request)
        self._head = None
        self._serve(request)

    def _check_head(self, head: Request) -> None:
        """Read the body only if the endpoint wants it from this client; otherwise answer without it."""
        self._head = head
        self._identify(head)
        if self._endpoints.wants_body(head, self.address):
            if self.reader.expects_continue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif not self.reader.discard_body():
            self.services.heartbeat.forget(self)
            self._serve(head)

    def _identify(self, request: Request) -> None:
        """Determine the client's address and check the Host header. Raises RateLimited or Misdirected."""
        request.is_proxied = self._is_proxied
        if not self.is_internal:
            self.address = self.peer
            if self.gate.has_proxies:
                self.address = self.gate.client_address(request, self.peer)
                if self.address != self.peer and self.gate.capacity.limits_addresses:
                    self.count_for(self.address)
            if not self.gate.allows_all_hosts:
                self.gate.check_host(request)

    def _serve(self, request: Request) -> None:
        if request.is_upgrade and self.is_internal:
            raise NotFound("no WebSocket endpoint at this address")
        if request.is_upgrade:
            upgrade(self, request)
        elif "sec-websocket-key" in request.headers:
            raise UpgradeRequired(
                "the request has Sec-WebSocket-Key but no `Upgrade: websocket`: a proxy in between has removed it",
                reason="upgrade_removed",
            )
        else:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        answer = self._endpoints(request, self.address)
        if isinstance(answer, Response):
            self._respond(request, answer)
            return
        self.is_answering = True
        # So that at most one read waits in memory.
        self.transport.pause_reading()
        self.spawn(self._answer_later(request, answer))

    async def _answer_later(self, request: Request, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except FastWSError as error:
            response = self.error_response(error)
        except Exception:
            log.exception("internal error", address=self.address, path=request.path)
            response = self.error_response(FastWSError("internal error"))
        self.is_answering = False
        if not self.transport.is_closing():
            self._respond(request, response)

    def _respond(self, request: Request, response: Response) -> None:
        """Write `response`. An error is counted and logged by its route."""
        if response.error is not None and not self.is_internal:
            route = self._endpoints.route_of(request)
            self.services.lifecycle.request_refused(route, response.error, self.address)
        self.write_response(request, response)
