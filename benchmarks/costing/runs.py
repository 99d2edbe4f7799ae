"""Runs loads against servers started here, and measures the CPU and memory that they use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from comparison.servers import free_port, wait_until_open

from fastws.bench.load import Load
from fastws.bench.plan import Plan
from fastws.bench.usage import Usage, kernel_slab_bytes, kernel_socket_bytes, usage_of

SERVER_CORES: Final = frozenset({0})
OTHER_CORES: Final = frozenset({1})
WARM_SECONDS: Final = 0.5
SETTLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A running server: the id of its only process or supervisor, and its URL."""

    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class Growth:
    """The cost of connections: CPU seconds, and bytes of the server and of the kernel (both ends)."""

    connections: int
    empty_bytes: int
    cpu_seconds: float
    server_bytes: int
    kernel_bytes: int


@contextlib.contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Run this process, and what it starts, on those of `cores` that exist; on all if none of them exists."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running_server(*flags: str) -> Iterator[RunningServer]:
    """Start `fastws serve` with these flags on the server's core."""
    port = free_port()
    command = [sys.executable, "-m", "fastws", "serve", "--port", str(port), "--log-level", "error", *flags]
    with pinned(SERVER_CORES):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until_open(process, port, "capacity: the server")
        yield RunningServer(process.pid, f"ws://127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.wait()


def cores_used(plan: Plan, *groups: Sequence[int]) -> list[float]:
    """CPU of each group of processes and their children while `plan` runs, in cores.

    Raises SystemExit if messages were lost, which makes the figure meaningless.
    """
    with pinned(OTHER_CORES):
        return asyncio.run(_cores_used(replace(plan, warm_seconds=WARM_SECONDS), groups))


async def _cores_used(plan: Plan, groups: Sequence[Sequence[int]]) -> list[float]:
    edges: list[tuple[float, list[Usage]]] = []
    async with Load(plan) as load:
        await load.connect()
        result = await load.run(
            at_start_and_end=lambda: edges.append((time.monotonic(), [usage_of(group) for group in groups]))
        )
    if not result.is_complete:
        raise SystemExit(f"capacity: messages were lost:\n{result.to_text()}")
    (began, before), (ended, after) = edges
    return [(late.cpu_seconds - early.cpu_seconds) / (ended - began) for early, late in zip(before, after, strict=True)]


def measure_growth(server: RunningServer, connections: int) -> Growth:
    """The cost of `connections` idle subscribed connections to `server`."""
    with pinned(OTHER_CORES):
        return asyncio.run(_measure_growth(server, connections))


async def _measure_growth(server: RunningServer, connections: int) -> Growth:
    plan = Plan(urls=(server.url,), connections=connections, mode="idle")
    async with Load(replace(plan, connections=10)) as load:
        await load.connect()  # the first connections load code and fill pools; the others do not
    await asyncio.sleep(SETTLE_SECONDS)
    async with Load(plan) as load:
        before, kernel = usage_of([server.pid]), kernel_slab_bytes() + kernel_socket_bytes()
        await load.connect()
        connected = usage_of([server.pid])
        await asyncio.sleep(SETTLE_SECONDS)
        after = usage_of([server.pid])
        return Growth(
            connections=load.ready,
            empty_bytes=before.pss_bytes,
            cpu_seconds=connected.cpu_seconds - before.cpu_seconds,
            server_bytes=after.rss_bytes - before.rss_bytes,
            kernel_bytes=kernel_slab_bytes() + kernel_socket_bytes() - kernel,
        )
