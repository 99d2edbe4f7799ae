"""Clients that subscribe and unsubscribe while they connect: the last request must win."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import orjson

from fastws.client import Client, connect
from fastws.errors import FastWSError
from soaking.basic_clients import BACKOFF_SECONDS, EVENT
from soaking.conversation import Message
from soaking.ledger import DeliveryCheck, Ledger

LISTEN_SECONDS = 3.0
# What was acknowledged has usually arrived after this long, and notices come no later.
DELIVERY_SECONDS = 5.0
# While Redis is away or a replica, nothing arrives. It is back after this long, and the gap notice comes then.
OUTAGE_SECONDS = 60.0
SETTLE_SECONDS = 25.0
JAVASCRIPT_PAUSE_SECONDS = 3.0
_HERE = Path(__file__).parent
_BROWSER_CLIENT = _HERE.parents[1] / "fastws" / "static" / "client" / "fastws.js"


class Lost(Exception):
    """The client lost its connection, so this round is not judged."""


Messages = asyncio.Queue[Message | None]


class HastyClient:
    """Subscribes and unsubscribes 2 to 5 times while it connects, then listens, leaves and starts again.

    A subclass does that with its library.
    """

    library = ""
    pause_seconds = 0.0

    def __init__(self, url: str, ledger: Ledger, name: str, channels: list[str], rng: random.Random) -> None:
        self._url, self._ledger, self._name, self._channels, self._rng = url, ledger, name, channels, rng
        self.is_stopping = False

    async def run(self) -> None:
        while not self.is_stopping:
            changes = "".join(self._rng.choice("su") for _ in range(self._rng.randint(2, 5)))
            try:
                await self.round(self._rng.choice(self._channels), changes)
            except (Lost, TimeoutError, OSError, FastWSError):
                self._ledger.counts["hasty client reconnected"] += 1
                await asyncio.sleep(self._rng.random() * BACKOFF_SECONDS)
            await asyncio.sleep(self.pause_seconds * self._rng.random())

    async def round(self, channel: str, changes: str) -> None:
        """One visit. Raises Lost, and what the library raises when it cannot connect."""
        async with self._connected(channel, changes) as (messages, connection_id):
            if changes[-1] == "s":
                listener = f"{self._name} ({self.library}, {changes}, connection {connection_id})"
                check = DeliveryCheck(self._ledger, listener, channel)
                await self._expect_everything(messages, check)
            else:
                await self._expect_nothing(messages, changes)
        self._ledger.counts[f"rounds of hasty {self.library} clients"] += 1
        self._ledger.tried["hasty"] += 1

    async def _expect_everything(self, messages: Messages, check: DeliveryCheck) -> None:
        await self._take(messages, LISTEN_SECONDS, check)
        acknowledged = dict(self._ledger.acknowledged)
        await self._take(messages, DELIVERY_SECONDS, check)
        if not check.has_all(acknowledged):
            await self._take(messages, OUTAGE_SECONDS, check, until=lambda: check.has_all(acknowledged))
        check.expect_all(acknowledged)

    async def _expect_nothing(self, messages: Messages, changes: str) -> None:
        """Nothing that is sent from now on may arrive; older messages may still wait in the client."""
        sent = dict(self._ledger.sent)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTEN_SECONDS):
                while True:
                    message = _present(await messages.get())
                    if message.get("event") == EVENT and _is_newer(message, sent):
                        words = f"{self._name} ({self.library}, {changes}) got {str(message)[:100]}"
                        self._ledger.fault("received after unsubscribing", words)
                        return

    async def _take(
        self, messages: Messages, seconds: float, check: DeliveryCheck, until: Callable[[], bool] = lambda: False
    ) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not until():
                    message = _present(await messages.get())
                    if message.get("event") == EVENT:
                        check.received(message["data"]["publisher"], message["data"]["number"])
                    elif message.get("type") in ("gap", "lag"):
                        check.gap_reported()

    def _connected(self, channel: str, changes: str) -> AbstractAsyncContextManager[tuple[Messages, str | None]]:
        """Entered when all requests are settled. Yields the connection's id and what arrives from then on: messages,
        notices, and None at the end. Raises Lost if the last request was refused.
        """
        raise NotImplementedError


class HastyPythonClient(HastyClient):
    """With `fastws.client`."""

    library = "Python"

    @contextlib.asynccontextmanager
    async def _connected(self, channel: str, changes: str) -> AsyncIterator[tuple[Messages, str | None]]:
        messages: Messages = asyncio.Queue()
        client = connect(self._url, reconnect=False, ping_interval=None, proxy=None)
        # Tasks start in the order of their creation, so all requests are made before the connection is open.
        asking = [asyncio.ensure_future(_ask(client, change, channel)) for change in changes]
        try:
            async with client:
                await asyncio.wait_for(asyncio.gather(*asking), SETTLE_SECONDS)
                reading = asyncio.ensure_future(_read(client, messages))
                try:
                    yield messages, client.connection_id
                finally:
                    reading.cancel()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


class HastyBrowserClient(HastyClient):
    """With fastws.js, under node."""

    library = "JavaScript"
    pause_seconds = JAVASCRIPT_PAUSE_SECONDS  # each round starts a process

    @contextlib.asynccontextmanager
    async def _connected(self, channel: str, changes: str) -> AsyncIterator[tuple[Messages, str | None]]:
        messages: Messages = asyncio.Queue()
        settled: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        process = await asyncio.create_subprocess_exec(
            *("node", "--no-warnings", "--experimental-websocket", str(_HERE / "hasty.mjs")),
            *(self._url, str(_BROWSER_CLIENT), channel, changes),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            limit=1 << 20,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        reading = asyncio.ensure_future(_read_lines(process.stdout, messages, settled))
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                connection_id = await settled
            yield messages, connection_id
            process.stdin.close()
            await asyncio.wait_for(process.wait(), SETTLE_SECONDS)
        finally:
            reading.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()


def can_run_browser_client() -> bool:
    return shutil.which("node") is not None


async def _ask(client: Client, change: str, channel: str) -> None:
    await (client.subscribe(channel) if change == "s" else client.unsubscribe(channel))


async def _read(client: Client, messages: Messages) -> None:
    try:
        async for message in client:
            messages.put_nowait(message)
    finally:
        messages.put_nowait(None)


async def _read_lines(lines: AsyncIterable[bytes], messages: Messages, settled: asyncio.Future[str | None]) -> None:
    """Put what hasty.mjs reports into `messages`. `settled` gets the connection's id, or Lost if a request failed."""
    async for line in lines:
        report = orjson.loads(line)
        match report["event"]:
            case "settled" if not settled.done():
                while not messages.empty():  # received before the last request was confirmed
                    messages.get_nowait()
                settled.set_result(report["message"]["connection"])
            case "refused":
                break
            case "message":
                messages.put_nowait(report["message"])
            case "notice":
                messages.put_nowait({"type": "gap"})
            case "lost":
                messages.put_nowait(None)
    messages.put_nowait(None)
    if not settled.done():
        settled.set_exception(Lost)


def _is_newer(message: Message, sent: Mapping[str, int]) -> bool:
    return bool(message["data"]["number"] > sent[message["data"]["publisher"]])


def _present(message: Message | None) -> Message:
    if message is None:
        raise Lost
    return message
