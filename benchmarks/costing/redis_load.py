"""What Redis pays for a publication and for each process that hears it, over raw sockets: one by one, or many."""

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
    """Counts bytes; `wanted` of them set `done`."""

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
    """`done` is set once so many bytes more have come. Before the write: uvloop reads before it starts a task."""
    listener.done.clear()
    listener.wanted = listener.received + more


async def _cpu_of_publication(path: str, pid: int, listeners: int, seconds: float, under_way: int) -> float:
    ears = [await _listener(path) for _ in range(listeners)]
    for ear in ears:
        ear.transport.write(SUBSCRIBE)  # type: ignore[attr-defined] # of a stream: it writes
        await ear.done.wait()
    mouth = await _listener(path)
    deliveries = DELIVERY_BYTES * under_way
    rounds = 0
    before, began = usage_of([pid]).cpu_seconds, time.monotonic()
    while time.monotonic() - began < seconds:
        for ear in ears:
            _expect(ear, deliveries)
        mouth.transport.write(PUBLISH * under_way)  # type: ignore[attr-defined]
        await asyncio.gather(*(ear.done.wait() for ear in ears))
        rounds += 1
    spent = usage_of([pid]).cpu_seconds - before
    for ear in (*ears, mouth):
        ear.transport.close()
    return spent / (rounds * under_way) * 1e6


def redis_costs(path: str, pid: int, seconds: float, *, under_way: int) -> tuple[float, float]:
    """µs of CPU of the Redis at the Unix socket `path` for a publication, and for each of its deliveries (256 B).

    `under_way` publications are sent at once, and the next ones when they are heard: the more, the less each costs.
    """
    with pinned(OTHER_CORES):
        with_few = uvloop.run(_cpu_of_publication(path, pid, FEW, seconds, under_way))
        with_many = uvloop.run(_cpu_of_publication(path, pid, MANY, seconds, under_way))
    delivery = (with_many - with_few) / (MANY - FEW)
    return with_few - FEW * delivery, delivery


def deliveries_per_second(publish_us: float, delivery_us: float, processes: int = MANY) -> float:
    """Of a Redis whose core does nothing else, to so many processes."""
    return processes * 1e6 / (publish_us + processes * delivery_us)
