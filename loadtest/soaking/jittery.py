"""Readers that pause and resume at random, in an audience so large that a publication takes several loop turns."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import Any, cast
from urllib.parse import urlsplit

from soaking.basic_clients import BACKOFF_SECONDS, GONE, OPEN_SECONDS, take
from soaking.conversation import Conversation, Message, text_frame, upgrade_request
from soaking.ledger import DeliveryCheck, Ledger

CHANNEL = "soak-burst"
# Of a client that does not read, the kernel takes some 160 KB with these; with its defaults it takes 4 MB.
SEGMENT_BYTES = 1200
RECEIVE_BUFFER_BYTES = 8192
# At 100 KB a second most pauses reach the server, and none its bounds of 256 messages and 1 MB for each client.
MESSAGES_PER_SECOND = 16.0
PADDING_BYTES = 6000
LONGEST_PAUSE_SECONDS = 4.0
LONGEST_READ_SECONDS = 0.7
# It pauses only while it is less than this behind, so it keeps up however busy the machine is.
MOST_BEHIND = 32


class RawClient(asyncio.Protocol):
    """A WebSocket client that can stop reading. `closed` is set when the connection has ended."""

    def __init__(self, host: str, conversation: Conversation) -> None:
        self._host = host
        self._conversation = conversation
        self.transport: asyncio.Transport
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self.transport.write(upgrade_request(self._host))

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._conversation.feed(data)
        except ConnectionError:
            self.transport.abort()
            return
        if answers:
            self.transport.write(answers)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()


class CrowdMember:
    """Subscribes and reads everything, to make the audience large."""

    def __init__(self, url: str, ledger: Ledger, name: str, rng: random.Random) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port
        self._ledger, self._name, self._rng = ledger, name, rng
        self.check: DeliveryCheck | None = None
        self.is_stopping = False
        self._connection_id = ""
        self._subscribed = asyncio.Event()
        self._client: RawClient

    async def run(self) -> None:
        while not self.is_stopping:
            try:
                await self.visit()
            except GONE:
                self._ledger.counts["crowd member reconnected"] += 1
            self.check = None
            await asyncio.sleep(self._rng.random() * BACKOFF_SECONDS)

    async def visit(self) -> None:
        """Connect, subscribe and read until the connection ends."""
        conversation = Conversation(self._on_message)
        self._subscribed.clear()
        self._connection_id = ""
        self._client = RawClient(f"{self._host}:{self._port}", conversation)
        await asyncio.wait_for(self._open(self._client), OPEN_SECONDS)
        try:
            await asyncio.wait_for(self._subscribed.wait(), OPEN_SECONDS)
            await self._read(self._client)
        finally:
            self._client.transport.abort()
        if not self.is_stopping:
            self._note_end(conversation.close_code)

    async def _open(self, client: RawClient) -> None:
        await asyncio.get_running_loop().create_connection(lambda: client, self._host, self._port)

    async def _read(self, client: RawClient) -> None:
        await client.closed.wait()

    def _note_end(self, close_code: int | None) -> None:
        self._ledger.lost(self._name, close_code, self._connection_id)

    def _on_message(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "connection_id":
            self._connection_id = message["connection_id"]
            self._client.transport.write(text_frame(action="subscribe", channel=CHANNEL))
        elif kind == "subscription_succeeded":
            self.check = DeliveryCheck(self._ledger, self._name, CHANNEL)
            self._subscribed.set()
        elif self.check is None:
            self._ledger.fault("unexpected message", f"{self._name} got {str(message)[:200]} before its confirmation")
        else:
            take(self._ledger, self._name, message, self.check)


class JitteryReader(CrowdMember):
    """Pauses and resumes reading at random. It keeps up on average, so it must get everything, in order."""

    async def _open(self, client: RawClient) -> None:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, (self._host, self._port))
        await loop.create_connection(lambda: client, sock=plain)

    async def _read(self, client: RawClient) -> None:
        while not client.closed.is_set():
            if self.check is not None and self.check.behind() < MOST_BEHIND:
                await self._pause(client)
            await self._wait(client, LONGEST_READ_SECONDS)

    async def _pause(self, client: RawClient) -> None:
        client.transport.pause_reading()
        await self._wait(client, LONGEST_PAUSE_SECONDS)
        if not client.closed.is_set():
            client.transport.resume_reading()
            self._ledger.counts["pauses of jittery readers"] += 1
            self._ledger.tried["jittery"] += 1

    async def _wait(self, client: RawClient, longest_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.closed.wait(), self._rng.random() * longest_seconds)

    def _note_end(self, close_code: int | None) -> None:
        if close_code == 1013:
            self._ledger.fault("jittery reader closed as too slow", self._name)
        else:
            super()._note_end(close_code)


def options_of_publisher() -> dict[str, Any]:
    return {"channel": CHANNEL, "rate": MESSAGES_PER_SECOND, "paddings": (PADDING_BYTES,)}
