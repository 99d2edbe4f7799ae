"""A TLS client that decides which bytes go into which TCP segment."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterable
from typing import Any

from tests.hostile.raw_client import masked, upgrade
from tests.serving import PATIENCE_SECONDS

TEXT, CLOSE = 1, 8
# Loop turns after which a server on the same loop has read what was sent to it, and done what it asks.
TURNS = 4


async def turns(count: int = TURNS) -> None:
    """Let the server, which runs on this loop, have its turns."""
    for _ in range(count):
        await asyncio.sleep(0)


class TlsPeer:
    """TLS over memory buffers: `records` of the client leave only when the test sends them."""

    def __init__(self, port: int, services: ssl.SSLContext, *, receive_buffer: int | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = services.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._port = port
        self.plain = bytearray()

    def close(self) -> None:
        self.socket.close()

    # --- out

    async def shake_hands(self, *, cut: int | None = None) -> bytes:
        """The handshake, up to the client's last flight, which is returned and not sent (Finished, in TLS 1.3).

        `cut`: the ClientHello goes in two segments, the first of so many bytes.
        """
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self._port))
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                flight = self._outgoing.read()
                await self.send(*((flight,) if cut is None else (flight[:cut], flight[cut:])))
                cut = None
                await self._read()
            else:
                return self._outgoing.read()

    def record(self, data: bytes) -> bytes:
        """`data` as TLS records, not sent yet."""
        self.tls.write(data)
        return self._outgoing.read()

    async def send(self, *segments: bytes) -> None:
        """Each as a segment of its own, which the server reads before the next comes."""
        for segment in segments:
            if segment:
                await asyncio.get_running_loop().sock_sendall(self.socket, segment)
                await turns()

    async def say(self, message: object) -> None:
        await self.send(self.record(masked(TEXT, json.dumps(message).encode())))

    # --- in

    async def _read(self) -> bool:
        async with asyncio.timeout(PATIENCE_SECONDS):
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65_536)
        self._incoming.write(data) if data else self._incoming.write_eof()
        return bool(data)

    async def _more(self) -> None:
        """Read on until there is something more to read. Raises EOFError at the end."""
        while True:
            try:
                data = self.tls.read(65_536)
            except ssl.SSLWantReadError:
                await self._read()
            except ssl.SSLEOFError:
                raise EOFError from None
            else:
                if not data:
                    raise EOFError
                self.plain += data
                return

    async def take(self, size: int) -> bytes:
        while len(self.plain) < size:
            await self._more()
        taken = bytes(self.plain[:size])
        del self.plain[:size]
        return taken

    async def head(self) -> str:
        """The head of a response."""
        while (end := self.plain.find(b"\r\n\r\n")) < 0:
            await self._more()
        return (await self.take(end + 4)).decode("latin-1")

    async def response(self) -> tuple[int, bytes]:
        """Status and body."""
        head = await self.head()
        length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
        return int(head.split()[1]), await self.take(int(length or 0))

    async def frame(self) -> tuple[int, bytes]:
        """First byte and payload of the next frame."""
        first, length = await self.take(2)
        if length > 125:
            length = int.from_bytes(await self.take(2 if length == 126 else 8), "big")
        return first, await self.take(length)

    async def hear(self) -> dict[str, Any]:
        first, payload = await self.frame()
        assert first == 0x80 | TEXT, (first, payload)
        message: dict[str, Any] = json.loads(payload)
        return message


def joined(pieces: Iterable[bytes], cuts: int) -> list[bytes]:
    """Join `pieces` into segments; bit n of `cuts` is set if a segment ends after piece n."""
    segments = [b""]
    for position, piece in enumerate(pieces):
        segments[-1] += piece
        if cuts >> position & 1:
            segments.append(b"")
    return segments


__all__ = ["CLOSE", "TEXT", "TlsPeer", "joined", "masked", "turns", "upgrade"]
