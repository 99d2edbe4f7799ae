"""Clients that follow a channel over many connections, and publishers of numbered messages, for many processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgpack
import orjson
import redis.asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from fastws.backend import AsyncBroadcaster
from tests.serving import PATIENCE_SECONDS

CHANNEL = "orders"
BATCH = 50
# Publications of one WebSocket publisher that are not yet answered.
WINDOW = 64
REDIS_CHANNEL = f"fastws:channel:{CHANNEL}"
LAST = "the last"

# Which publisher, and its number there.
Item = tuple[str, int]


class Follower:
    """Subscribes to CHANNEL at the first of `ports` that admits it, and again at any of them when that connection ends.

    `segments` has the messages of each of its connections, in order. It is `done` when it has received LAST.
    """

    def __init__(self, ports: Sequence[int], *, is_msgpack: bool) -> None:
        self.ports = list(ports)
        self.segments: list[list[Item]] = []
        self.is_subscribed = asyncio.Event()
        self.refusals = 0
        self._loads = msgpack.unpackb if is_msgpack else orjson.loads
        self._dumps = msgpack.packb if is_msgpack else (lambda message: orjson.dumps(message).decode())
        self._query = "?format=msgpack" if is_msgpack else ""

    @property
    def heard(self) -> list[Item]:
        return [item for segment in self.segments for item in segment]

    async def follow(self) -> None:
        """Run until LAST is received."""
        for attempt in range(10_000):
            port = self.ports[attempt % len(self.ports)]
            try:
                async with connect(f"ws://127.0.0.1:{port}/{self._query}", proxy=None, compression=None) as socket:
                    if await self._listen(socket):
                        return
            except (OSError, InvalidHandshake):
                # Only clients of the killed process get this.
                self.refusals += 1
                await asyncio.sleep(0)
            except ConnectionClosed:
                continue
        raise AssertionError("no process lets this client in")

    async def _listen(self, socket: Any) -> bool:
        await socket.recv()
        await socket.send(self._dumps({"action": "subscribe", "channel": CHANNEL}))
        segment: list[Item] = []
        async for frame in socket:
            message = self._loads(frame)
            if message.get("type") == "subscription_succeeded":
                self.segments.append(segment)
                self.is_subscribed.set()
            elif message.get("event") == LAST:
                return True
            else:
                segment.append((message["data"]["by"], message["data"]["number"]))
        return False


async def publish_by_websocket(port: int, name: str, numbers: Iterable[int]) -> None:
    """One client's sends, each of which must succeed."""
    async with connect(f"ws://127.0.0.1:{port}/", proxy=None, compression=None) as socket:
        await socket.recv()
        on_their_way = 0

        async def hear_answer() -> None:
            answer = orjson.loads(await socket.recv())
            assert answer["type"] == "send_success", answer

        for number in numbers:
            if on_their_way == WINDOW:
                await hear_answer()
                on_their_way -= 1
            message = {"action": "send", "channel": CHANNEL, "event": "e", "data": {"by": name, "number": number}}
            await socket.send(orjson.dumps(message).decode())
            on_their_way += 1
        for _ in range(on_their_way):
            await hear_answer()


async def publish_by_http(port: int, key: str, name: str, numbers: Sequence[int]) -> None:
    """POST /broadcast, BATCH at a time."""
    async with AsyncBroadcaster(f"http://127.0.0.1:{port}", key) as broadcaster:
        for start in range(0, len(numbers), BATCH):
            await broadcaster.publish_many(
                [
                    {"channel": CHANNEL, "event": "e", "data": {"by": name, "number": number}}
                    for number in numbers[start : start + BATCH]
                ]
            )


async def publish_by_redis(url: str, name: str, numbers: Iterable[int]) -> None:
    """PUBLISH by a program that does not use fastws."""
    async with redis.asyncio.Redis.from_url(url, protocol=2) as client:
        for number in numbers:
            await client.publish(REDIS_CHANNEL, orjson.dumps({"event": "e", "data": {"by": name, "number": number}}))


async def publish_the_last(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url, protocol=2) as client:
        await client.publish(REDIS_CHANNEL, orjson.dumps({"event": LAST}))


@asynccontextmanager
async def following(*followers: Follower) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run `followers`, from the moment when each has subscribed."""
    tasks = [asyncio.create_task(follower.follow()) for follower in followers]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(follower.is_subscribed.wait() for follower in followers))
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def is_slice_of(segment: Sequence[Item], whole: Sequence[Item]) -> bool:
    """Whether `segment` is a contiguous part of `whole`."""
    if not segment:
        return True
    start = whole.index(segment[0])
    return list(segment) == list(whole[start : start + len(segment)])
