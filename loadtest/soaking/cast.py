"""Who takes part in a soak: publishers, listeners, churners, slow readers, and those who break off in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import orjson
from soaking.ledger import Ear, Ledger
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

OPEN_SECONDS = 10.0
BACKOFF_SECONDS = 0.5
SLOW_SECONDS = 20.0
_GONE = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError)
_LISTENED = "soak"


@contextlib.asynccontextmanager
async def connected(url: str, **more: Any) -> AsyncIterator[ClientConnection]:
    """A client that nobody here wrote, after its greeting."""
    async with connect(url, compression=None, ping_interval=None, open_timeout=OPEN_SECONDS, **more) as client:
        greeting = orjson.loads(await client.recv())
        if greeting.get("type") != "connection_id":
            raise ConnectionError(f"greeted with {greeting}")
        yield client


async def say(client: ClientConnection, **message: Any) -> None:
    await client.send(orjson.dumps(message).decode())


async def subscribe(client: ClientConnection, channel: str) -> None:
    """Returns when the subscription is confirmed; nothing may come before that."""
    await say(client, action="subscribe", channel=channel)
    reply = orjson.loads(await asyncio.wait_for(client.recv(), OPEN_SECONDS))
    if reply.get("type") != "subscription_succeeded":
        raise ConnectionError(f"subscribe was answered with {reply}")


class Publisher:
    """Sends `rate` messages a second to its channel, and keeps the ledger of what was acknowledged."""

    def __init__(self, url: str, ledger: Ledger, name: str, channel: str, rate: float) -> None:
        self._url, self._ledger, self._name, self._channel = url, ledger, name, channel
        self._pause = 1 / rate
        self._waiting: set[int] = set()
        self.is_stopping = False
        ledger.enter(name, channel)

    async def run(self) -> None:
        while not self.is_stopping:
            try:
                async with connected(self._url) as client:
                    await self._publish(client)
            except _GONE:
                self._ledger.counts["publisher came back"] += 1
                await asyncio.sleep(BACKOFF_SECONDS)
            self._ledger.uncertain.update((self._name, number) for number in self._waiting)
            self._waiting.clear()

    async def _publish(self, client: ClientConnection) -> None:
        answers = asyncio.create_task(self._read_answers(client))
        try:
            while not self.is_stopping and not answers.done():
                number = self._ledger.sent[self._name] = self._ledger.sent[self._name] + 1
                self._waiting.add(number)
                data = {"publisher": self._name, "number": number, "padding": "x" * random.choice((0, 50, 500, 5000))}
                await say(client, action="send", channel=self._channel, event=_LISTENED, data=data, id=number)
                await asyncio.sleep(self._pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OPEN_SECONDS):
                    while self._waiting and not answers.done():
                        await asyncio.sleep(0.01)
        finally:
            answers.cancel()
            with contextlib.suppress(asyncio.CancelledError, *_GONE):
                await answers

    async def _read_answers(self, client: ClientConnection) -> None:
        ledger = self._ledger
        async for text in client:
            reply = orjson.loads(text)
            number = reply.get("id")
            if number not in self._waiting:
                ledger.fault("strange answer", f"{self._name} got {reply}")
                continue
            self._waiting.discard(number)
            if reply["type"] == "send_success":
                ledger.acknowledged[self._name] = max(number, ledger.acknowledged[self._name])
                ledger.counts["acknowledged"] += 1
            else:
                ledger.uncertain.add((self._name, number))
                ledger.counts[f"refused: {reply.get('code')}"] += 1


class Listener:
    """Stays subscribed, and comes back where it is thrown out. `stay_seconds`: leaves by itself after about so long."""

    def __init__(
        self, url: str, ledger: Ledger, name: str, channels: list[str], *, stay_seconds: float | None = None
    ) -> None:
        self._url, self._ledger, self._name, self._channels = url, ledger, name, channels
        self._stay_seconds = stay_seconds
        self.ear: Ear | None = None
        self.is_stopping = False

    async def run(self) -> None:
        while not self.is_stopping:
            channel = random.choice(self._channels)
            try:
                async with connected(self._url) as client:
                    await subscribe(client, channel)
                    self.ear = Ear(self._ledger, self._name, channel)
                    self._ledger.counts["subscriptions"] += 1
                    await self._listen(client, channel, self.ear)
            except _GONE:
                self._ledger.counts["listener came back"] += 1
                await asyncio.sleep(random.random() * BACKOFF_SECONDS)
            self.ear = None

    async def _listen(self, client: ClientConnection, channel: str, ear: Ear) -> None:
        if self._stay_seconds is None:
            async for text in client:
                self._take(orjson.loads(text), ear)
            self._ledger.counts[f"closed with {client.close_code}"] += 1
            raise ConnectionError("closed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stay_seconds * (0.5 + random.random())):
                async for text in client:
                    self._take(orjson.loads(text), ear)
        await self._leave(client, channel, ear)

    async def _leave(self, client: ClientConnection, channel: str, ear: Ear) -> None:
        """In one of the three ways there are: unsubscribe first, close, or break off."""
        way = random.randrange(3)
        if way == 0:
            await say(client, action="unsubscribe", channel=channel)
            while (message := orjson.loads(await client.recv())).get("type") != "unsubscribe_succeeded":
                self._take(message, ear)
            with contextlib.suppress(TimeoutError):
                late = await asyncio.wait_for(client.recv(), 0.2)
                self._ledger.fault("heard after unsubscribing", f"{self._name}: {late!r:.100}")
        elif way == 1:
            client.transport.abort()

    def _take(self, message: dict[str, Any], ear: Ear) -> None:
        if message.get("event") == _LISTENED:
            ear.hear(message["data"]["publisher"], message["data"]["number"])
        elif message.get("type") in ("lag", "gap"):
            ear.excuse()
        else:
            self._ledger.fault("strange message", f"{self._name} got {str(message)[:200]}")


class SlowReader:
    """Subscribes and reads nothing; the server is to get rid of it, or to tell it what it missed."""

    def __init__(self, url: str, ledger: Ledger, channels: list[str]) -> None:
        self._url, self._ledger, self._channels = url, ledger, channels
        self.is_stopping = False

    async def run(self) -> None:
        while not self.is_stopping:
            try:
                async with connected(self._url, max_queue=1) as client:
                    await subscribe(client, random.choice(self._channels))
                    await asyncio.sleep(SLOW_SECONDS)
                    async for _ in client:
                        continue
                    self._ledger.counts[f"slow reader closed with {client.close_code}"] += 1
            except _GONE:
                await asyncio.sleep(BACKOFF_SECONDS)


class Resetter:
    """Opens a TCP connection, says a part of what a client would, and resets it."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._ledger = ledger
        self._turn = itertools.cycle(range(1, 260, 7))
        self.is_stopping = False

    async def run(self) -> None:
        # A whole upgrade, a masked subscribe and the head of a message that never comes.
        conversation = (
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        text = b'{"action":"subscribe","channel":"soak-0"}'
        conversation += bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text + b"\x81\xfe\x10\x00\0\0\0\0{"
        while not self.is_stopping:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    writer.write(conversation[: next(self._turn)])
                    await asyncio.sleep(0.02)
                finally:
                    writer.transport.abort()
                self._ledger.counts["resets"] += 1
            await asyncio.sleep(0.05)
