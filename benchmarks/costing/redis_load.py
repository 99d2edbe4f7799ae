"""What Redis pays for a publication and for each process that hears it, when it is busy: raw sockets, pipelined."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import uvloop
from costing.runs import OTHER_CORES, pinned

from fastws.bench.accounting import use_of

CHANNEL: Final = b"fastws-capacity"
PAYLOAD: Final = b"x" * 256
PUBLISH: Final = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(CHANNEL), CHANNEL, len(PAYLOAD), PAYLOAD)
SUBSCRIBE: Final = b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(CHANNEL), CHANNEL)
DELIVERY_BYTES: Final = len(b"*3\r\n$7\r\nmessage\r\n") + len(PUBLISH) - len(b"*3\r\n$7\r\nPUBLISH\r\n")
PIPELINE: Final = 100


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


async def _expect(listener: Listener, more: int) -> None:
    listener.done.clear()
    listener.wanted = listener.received + more
    await listener.done.wait()


async def _cpu_of_publication(path: str, pid: int, listeners: int, seconds: float) -> float:
    ears = [await _listener(path) for _ in range(listeners)]
    for ear in ears:
        ear.transport.write(SUBSCRIBE)  # type: ignore[attr-defined] # of a stream: it writes
        await ear.done.wait()
    mouth = await _listener(path)
    deliveries = DELIVERY_BYTES * PIPELINE
    rounds = 0
    before, began = use_of([pid]).cpu_seconds, time.monotonic()
    while time.monotonic() - began < seconds:
        waiting = [asyncio.ensure_future(_expect(ear, deliveries)) for ear in ears]
        mouth.transport.write(PUBLISH * PIPELINE)  # type: ignore[attr-defined]
        await asyncio.gather(*waiting)
        rounds += 1
    spent = use_of([pid]).cpu_seconds - before
    for ear in (*ears, mouth):
        ear.transport.close()
    return spent / (rounds * PIPELINE) * 1e6


def redis_costs(path: str, pid: int, seconds: float) -> tuple[float, float]:
    """µs of CPU of the Redis at the Unix socket `path` for a publication, and for each of its deliveries (256 B)."""
    few, many = 1, 20
    with pinned(OTHER_CORES):
        with_few = uvloop.run(_cpu_of_publication(path, pid, few, seconds))
        with_many = uvloop.run(_cpu_of_publication(path, pid, many, seconds))
    delivery = (with_many - with_few) / (many - few)
    return with_few - few * delivery, delivery
