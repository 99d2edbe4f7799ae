"""Loads of known shape against servers of our own: what their processes use meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastws.bench.load import Load
from fastws.bench.plan import Plan
from fastws.bench.usage import Usage, kernel_slab_bytes, kernel_socket_bytes, usage_of

SERVER_CORES: Final = frozenset({0})
OTHER_CORES: Final = frozenset({1})
WARM_SECONDS: Final = 0.5
SETTLE_SECONDS: Final = 1.0
_LISTENS: Final = re.compile(rb"listens on (ws://\S+)")


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs: its supervisor's or only process, and its URL."""

    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class Grown:
    """What connections brought: CPU seconds, and bytes of memory of the server and of the kernel (both ends)."""

    connections: int
    empty_bytes: int
    cpu_seconds: float
    server_bytes: int
    kernel_bytes: int


@contextlib.contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """This process, and whatever it starts meanwhile, on those of `cores` that there are; on all if there are none."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def serving(*flags: str) -> Iterator[Served]:
    """`fastws serve` with these flags on its core."""
    command = [sys.executable, "-m", "fastws", "serve", "--port", "0", "--log-level", "error", *flags]
    with pinned(SERVER_CORES):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        match = _LISTENS.search(process.stdout.readline())
        if match is None:
            raise SystemExit("capacity: the server did not start")
        yield Served(process.pid, match[1].decode())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def cores_used(plan: Plan, *groups: Sequence[int]) -> list[float]:
    """CPU of each group of processes and their children while `plan` runs, in cores.

    Raises SystemExit where not everybody heard everything: such a figure says nothing.
    """
    with pinned(OTHER_CORES):
        return asyncio.run(_cores_used(replace(plan, warm_seconds=WARM_SECONDS), groups))


async def _cores_used(plan: Plan, groups: Sequence[Sequence[int]]) -> list[float]:
    edges: list[tuple[float, list[Usage]]] = []
    async with Load(plan) as load:
        await load.connect()
        result = await load.run(at_start_and_end=lambda: edges.append((time.monotonic(), [usage_of(group) for group in groups])))
    if not result.is_complete:
        raise SystemExit(f"capacity: not everybody heard everything:\n{result.to_text()}")
    (began, before), (ended, after) = edges
    return [(late.cpu_seconds - early.cpu_seconds) / (ended - began) for early, late in zip(before, after, strict=True)]


def growth(server: Served, connections: int) -> Grown:
    """What so many idle subscribed connections bring to `server`."""
    with pinned(OTHER_CORES):
        return asyncio.run(_growth(server, connections))


async def _growth(server: Served, connections: int) -> Grown:
    plan = Plan(urls=(server.url,), connections=connections, mode="idle")
    async with Load(replace(plan, connections=10)) as load:
        await load.connect()  # what the first connections bring in is not the price of the others
    await asyncio.sleep(SETTLE_SECONDS)
    async with Load(plan) as load:
        before, kernel = usage_of([server.pid]), kernel_slab_bytes() + kernel_socket_bytes()
        await load.connect()
        connected = usage_of([server.pid])
        await asyncio.sleep(SETTLE_SECONDS)
        after = usage_of([server.pid])
        return Grown(
            connections=load.ready,
            empty_bytes=before.pss_bytes,
            cpu_seconds=connected.cpu_seconds - before.cpu_seconds,
            server_bytes=after.rss_bytes - before.rss_bytes,
            kernel_bytes=kernel_slab_bytes() + kernel_socket_bytes() - kernel,
        )
