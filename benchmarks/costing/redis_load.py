"""Measures the CPU of Redis for a publication and for each process that receives it, over raw sockets."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import uvloop
from costing.runs import OTHER_CORES, pinned

from fastws.bench.usage import usage_of

CHANNEL: Final = b"fastws-capacity"
PAYLOAD: Final = b"x" * 256
PUBLISH: Final = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(CHANNEL), CHANNEL, len(PAYLOAD), PAYLOAD)
SUBSCRIBE: Final = b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(CHANNEL), CHANNEL)
DELIVERY_BYTES: Final = len(b"*3\r\n$7\r\nmessage\r\n") + len(PUBLISH) - len(b"*3\r\n$7\r\nPUBLISH\r\n")
FEW: Final = 1
MANY: Final = 20


class Listener(asyncio.Protocol):
    """Counts bytes and sets `done` when there are `wanted` of them."""

    def __init__(self) -> None:
        self.received = 0
        self.wanted = 1
        self.done = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.received >= self.wanted:
            self.done.set()


async def _listener(path: str) -> Listener:
    _, listener = await asyncio.get_running_loop().create_unix_connection(Listener, path)
    return listener


def _expect(listener: Listener, more: int) -> None:
    """Set `done` after `more` bytes. Call it before the write: uvloop may read before the next task runs."""
    listener.done.clear()
    listener.wanted = listener.received + more


async def _cpu_of_publication(path: str, pid: int, listeners: int, seconds: float, in_flight: int) -> float:
    subscribers = [await _listener(path) for _ in range(listeners)]
    for subscriber in subscribers:
        subscriber.transport.write(SUBSCRIBE)  # type: ignore[attr-defined] # a stream transport writes
        await subscriber.done.wait()
    publisher = await _listener(path)
    deliveries = DELIVERY_BYTES * in_flight
    rounds = 0
    before, began = usage_of([pid]).cpu_seconds, time.monotonic()
    while time.monotonic() - began < seconds:
        for subscriber in subscribers:
            _expect(subscriber, deliveries)
        publisher.transport.write(PUBLISH * in_flight)  # type: ignore[attr-defined]
        await asyncio.gather(*(subscriber.done.wait() for subscriber in subscribers))
        rounds += 1
    spent = usage_of([pid]).cpu_seconds - before
    for subscriber in (*subscribers, publisher):
        subscriber.transport.close()
    return spent / (rounds * in_flight) * 1e6


def redis_costs(path: str, pid: int, seconds: float, *, in_flight: int) -> tuple[float, float]:
    """CPU in µs of the Redis at the Unix socket `path`: for a publication, and for each of its deliveries (256 B).

    `in_flight` publications are sent at once, the next ones when these have arrived. The more, the less each costs.
    """
    with pinned(OTHER_CORES):
        with_few = uvloop.run(_cpu_of_publication(path, pid, FEW, seconds, in_flight))
        with_many = uvloop.run(_cpu_of_publication(path, pid, MANY, seconds, in_flight))
    delivery = (with_many - with_few) / (MANY - FEW)
    return with_few - FEW * delivery, delivery


def deliveries_per_second(publish_us: float, delivery_us: float, processes: int = MANY) -> float:
    """Deliveries per second of a Redis with a core of its own, to `processes` processes."""
    return processes * 1e6 / (publish_us + processes * delivery_us)
