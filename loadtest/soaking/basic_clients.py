"""Publishers, listeners, churners, slow readers, and clients that reset their connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import urlsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from soaking.conversation import TEXT, client_frame, upgrade_request
from soaking.ledger import DeliveryCheck, Ledger

OPEN_SECONDS = 10.0
BACKOFF_SECONDS = 0.5
SLOW_SECONDS = 20.0
GONE = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError)
EVENT = "soak"
_PADDINGS = (0, 50, 500, 5000)


@contextlib.asynccontextmanager
async def connected(url: str, **more: Any) -> AsyncIterator[ClientConnection]:
    """Yields a connection of the `websockets` package after its greeting."""
    async with connect(
        url, compression=None, ping_interval=None, open_timeout=OPEN_SECONDS, proxy=None, **more
    ) as client:
        greeting = orjson.loads(await client.recv())
        if greeting.get("type") != "connection_id":
            raise ConnectionError(f"unexpected greeting: {greeting}")
        yield client


async def say(client: ClientConnection, **message: Any) -> None:
    await client.send(orjson.dumps(message).decode())


async def subscribe(client: ClientConnection, channel: str) -> None:
    """Returns when the subscription is confirmed. No other message may arrive before."""
    await say(client, action="subscribe", channel=channel)
    reply = orjson.loads(await asyncio.wait_for(client.recv(), OPEN_SECONDS))
    if reply.get("type") != "subscription_succeeded":
        raise ConnectionError(f"unexpected reply to subscribe: {reply}")


def take(ledger: Ledger, name: str, message: dict[str, Any], check: DeliveryCheck) -> None:
    """Pass one message of a subscriber to its check."""
    if message.get("event") == EVENT:
        check.received(message["data"]["publisher"], message["data"]["number"])
    elif message.get("type") in ("lag", "gap"):
        check.gap_reported()
    else:
        ledger.fault("unexpected message", f"{name} got {str(message)[:200]}")


class Publisher:
    """Sends `rate` messages a second to its channel and notes what was acknowledged."""

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        name: str,
        channel: str,
        rate: float,
        rng: random.Random,
        *,
        paddings: Iterable[int] = _PADDINGS,
    ) -> None:
        self._url, self._ledger, self._name, self._channel, self._rng = url, ledger, name, channel, rng
        self._pause = 1 / rate
        self._paddings = tuple(paddings)
        self._waiting: set[int] = set()
        self.is_stopping = False
        ledger.enter(name, channel)

    async def run(self) -> None:
        while not self.is_stopping:
            try:
                async with connected(self._url) as client:
                    await self._publish(client)
                    close_code = client.close_code
                if close_code is not None:
                    self._ledger.lost(self._name, close_code)
            except GONE:
                self._ledger.counts["publisher reconnected"] += 1
                await asyncio.sleep(BACKOFF_SECONDS)
            self._ledger.uncertain.update((self._name, number) for number in self._waiting)
            self._waiting.clear()

    async def _publish(self, client: ClientConnection) -> None:
        answers = asyncio.create_task(self._read_answers(client))
        try:
            while not self.is_stopping and not answers.done():
                await self._publish_one(client)
                await asyncio.sleep(self._pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OPEN_SECONDS):
                    while self._waiting and not answers.done():
                        await asyncio.sleep(0.01)
        finally:
            answers.cancel()
            with contextlib.suppress(asyncio.CancelledError, *GONE):
                await answers

    async def _publish_one(self, client: ClientConnection) -> None:
        number = self._ledger.next_number(self._name)
        self._waiting.add(number)
        data = {"publisher": self._name, "number": number, "padding": "x" * self._rng.choice(self._paddings)}
        await say(client, action="send", channel=self._channel, event=EVENT, data=data, id=number)

    async def _read_answers(self, client: ClientConnection) -> None:
        ledger = self._ledger
        async for text in client:
            reply = orjson.loads(text)
            number = reply.get("id")
            if number not in self._waiting:
                ledger.fault("unexpected answer", f"{self._name} got {reply}")
                continue
            self._waiting.discard(number)
            if reply["type"] == "send_success":
                ledger.acknowledged[self._name] = max(number, ledger.acknowledged[self._name])
                ledger.counts["acknowledged"] += 1
            else:
                ledger.uncertain.add((self._name, number))
                ledger.counts[f"refused: {reply.get('code')}"] += 1


class Listener:
    """Stays subscribed and reconnects when it is closed. `stay_seconds`: it leaves by itself after about that long.

    `tls` is the context of a client of a `wss://` URL.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        name: str,
        channels: list[str],
        rng: random.Random,
        *,
        stay_seconds: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url, self._ledger, self._name, self._channels, self._rng = url, ledger, name, channels, rng
        self._stay_seconds = stay_seconds
        self._options = {} if tls is None else {"ssl": tls}
        self.check: DeliveryCheck | None = None
        self.is_stopping = False

    async def run(self) -> None:
        while not self.is_stopping:
            channel = self._rng.choice(self._channels)
            try:
                async with connected(self._url, **self._options) as client:
                    await subscribe(client, channel)
                    self.check = DeliveryCheck(self._ledger, self._name, channel)
                    self._ledger.counts["subscriptions"] += 1
                    await self._listen(client, channel, self.check)
            except GONE:
                self._ledger.counts["listener reconnected"] += 1
                await asyncio.sleep(self._rng.random() * BACKOFF_SECONDS)
            self.check = None

    async def _listen(self, client: ClientConnection, channel: str, check: DeliveryCheck) -> None:
        stay = None if self._stay_seconds is None else self._stay_seconds * (0.5 + self._rng.random())
        try:
            async with asyncio.timeout(stay):
                while True:
                    take(self._ledger, self._name, orjson.loads(await client.recv()), check)
        except ConnectionClosed:
            self._ledger.lost(self._name, client.close_code)
            raise
        except TimeoutError:
            await self._leave(client, channel, check)

    async def _leave(self, client: ClientConnection, channel: str, check: DeliveryCheck) -> None:
        """Leave in one of three ways: unsubscribe and close, close, or abort."""
        way = self._rng.randrange(3)
        if way == 0:
            await say(client, action="unsubscribe", channel=channel)
            while (message := orjson.loads(await client.recv())).get("type") != "unsubscribe_succeeded":
                take(self._ledger, self._name, message, check)
            with contextlib.suppress(TimeoutError):
                late = await asyncio.wait_for(client.recv(), 0.2)
                self._ledger.fault("received after unsubscribing", f"{self._name}: {late!r:.100}")
        elif way == 1:
            client.transport.abort()


class SlowReader:
    """Subscribes and does not read. The server must close it or report what it missed."""

    def __init__(self, url: str, ledger: Ledger, channels: list[str], rng: random.Random) -> None:
        self._url, self._ledger, self._channels, self._rng = url, ledger, channels, rng
        self.is_stopping = False

    async def run(self) -> None:
        while not self.is_stopping:
            try:
                async with connected(self._url, max_queue=1) as client:
                    await subscribe(client, self._rng.choice(self._channels))
                    await asyncio.sleep(SLOW_SECONDS)
                    async for _ in client:
                        continue
                    self._ledger.counts[f"slow reader closed with {client.close_code}"] += 1
            except GONE:
                await asyncio.sleep(BACKOFF_SECONDS)


class Resetter:
    """Opens a TCP connection, sends a part of a client's bytes and resets the connection."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._ledger = ledger
        self._turn = itertools.cycle(range(1, 260, 7))
        self.is_stopping = False

    async def run(self) -> None:
        # A complete upgrade, a subscribe request and the header of a message that never follows.
        subscribing = client_frame(TEXT, b'{"action":"subscribe","channel":"soak-0"}')
        bytes_of_a_client = upgrade_request("x") + subscribing + b"\x81\xfe\x10\x00\0\0\0\0{"
        while not self.is_stopping:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    writer.write(bytes_of_a_client[: next(self._turn)])
                    await asyncio.sleep(0.02)
                finally:
                    writer.transport.abort()
                self._ledger.counts["resets"] += 1
            await asyncio.sleep(0.05)
