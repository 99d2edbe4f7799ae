"""A small hub that counts subscribers and keeps what it is told, in order; and a receipt that can be awaited."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import FastWSError
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Encoded, Publication

GAP = "gap"
UNHEARD = "unheard"
# A bound that says only that something never comes; how soon it must come is for constants to promise.
PATIENCE_SECONDS = 30.0


class RecordingHub:
    """What brokers need of the hub. `heard[channel]` holds the data of publications, and notices: GAP, UNHEARD."""

    def __init__(self) -> None:
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.publications: list[Publication] = []
        self.subscribers: dict[str, int] = defaultdict(int)
        self.refuses = 0
        self._changed = asyncio.Event()

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        self.publications.append(publication)
        self.heard[publication.channel].append(value_of(publication))
        if receipt is not None:
            count = self.subscribers[publication.channel]
            receipt.done(count - min(count, self.refuses), min(count, self.refuses))
        self._changed.set()

    def gap(self, channel: str, position: Position | None = None) -> None:
        self.heard[channel].append(GAP)
        self._changed.set()

    def fail(self, channel: str, error: FastWSError) -> None:
        assert error.channel == channel
        self.heard[channel].append(UNHEARD)
        self._changed.set()

    def count(self, channel: str) -> int:
        return self.subscribers[channel]

    async def until(self, is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something that is told makes `is_so` true."""
        async with asyncio.timeout(seconds):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()


class AwaitedReceipt:
    def __init__(self) -> None:
        self.future: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self.position: Position | None = None

    def kept(self, position: Position) -> None:
        self.position = position

    def done(self, sent: int, failed: int) -> None:
        assert not self.future.done(), "a receipt hears once"
        self.future.set_result((sent, failed))

    def refused(self, error: FastWSError) -> None:
        assert not self.future.done(), "a receipt hears once"
        self.future.set_exception(error)

    async def outcome(self, seconds: float = PATIENCE_SECONDS) -> tuple[int, int]:
        """(sent, failed), or the refusal raised."""
        return await asyncio.wait_for(self.future, seconds)


def value_of(publication: Publication) -> object:
    data = publication.data
    if isinstance(data, Encoded):
        return (JSON if data.codec == "json" else MSGPACK).loads(data.body)
    return data


def subscribed_at_once(broker: Any, hub: RecordingHub, channel: str) -> None:
    """Be a subscriber of `channel`, which needs no word of Redis's."""
    answers: list[bool] = []
    broker.listen(channel, lambda: answers.append(True))
    hub.subscribers[channel] += 1
    assert answers


async def subscribed(broker: Any, hub: RecordingHub, *channels: str) -> None:
    """Be a subscriber of `channels`, and wait until the broker has confirmed all of them."""
    waiting = {channel: asyncio.get_running_loop().create_future() for channel in channels}
    for channel, future in waiting.items():
        broker.listen(channel, lambda future=future: future.set_result(None))
        hub.subscribers[channel] += 1
    await asyncio.wait_for(asyncio.gather(*waiting.values()), PATIENCE_SECONDS)


async def passes(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a state that no event reports: Redis's own, or what a broker knows and tells no hub. No time decides."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
