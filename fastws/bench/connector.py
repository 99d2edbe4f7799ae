"""Opens connections: a socket from a chosen source address, then the upgrade."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import socket
import ssl
from typing import Final, cast
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from fastws.bench.dialects import DIALECTS
from fastws.bench.plan import Plan

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Linux has 28,000 ports for one source address and destination (net.ipv4.ip_local_port_range). It searches for a free
# one from a random start, so that a connect takes milliseconds once most are taken.
CONNECTIONS_PER_SOURCE: Final = 7_000
_IP_BIND_ADDRESS_NO_PORT: Final = 24
SLOW_BUFFER_BYTES: Final = 4096


class Client(asyncio.Protocol):
    """A WebSocket client; it gets the transport after the upgrade."""

    __slots__ = ()

    def opened(self, transport: asyncio.Transport, rest: bytes) -> None:
        """The upgrade succeeded. `rest`: bytes that arrived right after the response."""
        raise NotImplementedError

    def refused(self, why: str) -> None:
        """The connection or the upgrade failed."""
        raise NotImplementedError


class Connector:
    """Opens the connections of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._targets = [urlsplit(url) for url in plan.urls]
        self._key = base64.b64encode(secrets.token_bytes(16))
        self._accept = base64.b64encode(hashlib.sha1(self._key + _GUID).digest())  # noqa: S324 # RFC 6455 says SHA-1
        self.tls: ssl.SSLContext | None = None
        if any(target.scheme == "wss" for target in self._targets):
            self.tls = ssl.create_default_context()
            if plan.insecure:
                self.tls.check_hostname = False
                self.tls.verify_mode = ssl.CERT_NONE

    async def connect(self, index: int, client: Client, *, small_buffer: bool = False) -> None:
        """Connect client number `index` and call `client.opened` or `client.refused`. Raises OSError if TCP fails."""
        target = self._targets[index % len(self._targets)]
        sock = await open_socket(target, self._source(index, target), small_buffer=small_buffer)
        await asyncio.get_running_loop().create_connection(
            lambda: Upgrade(self._request(target, index), self._accept, client),
            sock=sock,
            ssl=self.tls if target.scheme == "wss" else None,
            server_hostname=target.hostname if target.scheme == "wss" else None,
        )

    def _source(self, index: int, target: SplitResult) -> str | None:
        if not (target.hostname or "").startswith("127."):
            return None
        sources = self._plan.sources
        number = index % sources if sources else index // CONNECTIONS_PER_SOURCE
        return f"127.0.{number // 250}.{number % 250 + 2}"

    def _request(self, target: SplitResult, index: int) -> bytes:
        plan = self._plan
        dialect = DIALECTS[plan.dialect]
        path = target.path if target.path not in ("", "/") else dialect.path
        query = target.query or dialect.query(plan.channel_of(index))
        lines = [
            f"GET {quote(path, safe='/%@:')}{f'?{urlencode(parse_qsl(query))}' if query else ''} HTTP/1.1",
            f"Host: {target.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {self._key.decode()}",
            "Sec-WebSocket-Version: 13",
        ]
        if plan.format == "msgpack":
            lines.append("Sec-WebSocket-Protocol: fastws.msgpack")
        if plan.token:
            lines.append(f"Authorization: Bearer {plan.token}")
        return "\r\n".join([*lines, "\r\n"]).encode()


async def open_socket(target: SplitResult, source: str | None, *, small_buffer: bool = False) -> socket.socket:
    """Returns a connected TCP socket, bound to `source` if one is given."""
    host = target.hostname or ""
    port = target.port or (443 if target.scheme in ("wss", "https") else 80)
    loop = asyncio.get_running_loop()
    if source is None:
        family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
    else:
        family, kind, protocol, address = socket.AF_INET, socket.SOCK_STREAM, 0, (host, port)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if small_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        if source is not None:
            # Without it, bind would choose the port and use each only once, for whatever destination.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


class Upgrade(asyncio.Protocol):
    """Requests the upgrade and hands the transport over to `client` if the server agrees."""

    __slots__ = ("_accept", "_client", "_head", "_request", "_transport")

    def __init__(self, request: bytes, accept: bytes, client: Client) -> None:
        self._request = request
        self._accept = accept
        self._client: Client | None = client
        self._head = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a TCP transport reads and writes
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        head, blank_line, rest = (self._head + data).partition(b"\r\n\r\n")
        if not blank_line:
            self._head = head
            return
        client = self._client
        status_line = head.partition(b"\r\n")[0].decode("latin-1")
        if client is None:
            return
        self._client = None
        if head[9:12] != b"101" or self._accept not in head:
            client.refused(status_line)
            self._transport.abort()
            return
        self._transport.set_protocol(client)
        client.opened(self._transport, rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._client is not None:
            self._client.refused(f"closed before the upgrade: {exc or 'by the server'}")
            self._client = None
