"""Opening connections: a socket from a chosen source address, the upgrade, then whoever is to have it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import socket
import ssl
from typing import Final, cast
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from fastws.bench.plan import Plan
from fastws.bench.speech import DIALECTS

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Linux has 28,000 ports for one source address towards one port, gives out every second one first, and looks for a free
# one from a random place on (net.ipv4.ip_local_port_range): where most are taken, a connect takes milliseconds.
CONNECTIONS_PER_SOURCE: Final = 7_000
_IP_BIND_ADDRESS_NO_PORT: Final = 24
SLOW_BUFFER_BYTES: Final = 4096


class Link(asyncio.Protocol):
    """What a connection becomes after its upgrade."""

    __slots__ = ()

    def opened(self, transport: asyncio.Transport, rest: bytes) -> None:
        """The upgrade succeeded; `rest` are bytes that came right behind it."""
        raise NotImplementedError

    def refused(self, why: str) -> None:
        """There will be no connection."""
        raise NotImplementedError


class Dialer:
    """Opens connections as a plan says."""

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

    async def dial(self, index: int, link: Link, *, small_buffer: bool = False) -> None:
        """Connect as client number `index`; `link` hears how it went. Raises OSError where TCP fails."""
        target = self._targets[index % len(self._targets)]
        sock = await connect(target, self._source(index, target), small_buffer=small_buffer)
        await asyncio.get_running_loop().create_connection(
            lambda: Upgrade(self._request(target, index), self._accept, link),
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
        speech = DIALECTS[plan.dialect]
        path = target.path if target.path not in ("", "/") else speech.path
        query = target.query or speech.query(plan.channel_of(index))
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


async def connect(target: SplitResult, source: str | None, *, small_buffer: bool = False) -> socket.socket:
    """A connected TCP socket, from `source` where one is given."""
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
            # The port is then chosen at connect, for this destination: bind alone would give each out only once.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


class Upgrade(asyncio.Protocol):
    """Asks for the upgrade and gives the transport to `link` when it is granted."""

    __slots__ = ("_accept", "_head", "_link", "_request", "_transport")

    def __init__(self, request: bytes, accept: bytes, link: Link) -> None:
        self._request = request
        self._accept = accept
        self._link: Link | None = link
        self._head = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # of a TCP connection: reads and writes
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        head, blank_line, rest = (self._head + data).partition(b"\r\n\r\n")
        if not blank_line:
            self._head = head
            return
        link = self._link
        status_line = head.partition(b"\r\n")[0].decode("latin-1")
        if link is None:
            return
        self._link = None
        if head[9:12] != b"101" or self._accept not in head:
            link.refused(status_line)
            self._transport.abort()
            return
        self._transport.set_protocol(link)
        link.opened(self._transport, rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._link is not None:
            self._link.refused(f"closed before the upgrade: {exc or 'by the server'}")
            self._link = None
