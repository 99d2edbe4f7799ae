"""The cost of Redis and the gain of a second process: one workload, four configurations, measured in turn in one run.

    python benchmarks/redis_scale.py                 # 3 rounds, about 40 s
    python benchmarks/redis_scale.py --seconds 5 --rounds 5

Needs two cores and, from a checkout, `pip install '.[bench,embedded]'`. Each row is 1000 subscribers of one channel,
with 64 publications in flight from one client. `memory` and `redis` run the server on core 0 and the rest on core 1.
`one` and `two` (processes, both over Redis) share both cores with the client, so compare their deliveries per second of
server CPU time. Results are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from comparison.servers import free_port, wait_until_open

from fastws.bench.load import Load
from fastws.bench.plan import Plan
from fastws.bench.result import Result
from fastws.bench.usage import Usage, usage_of
from fastws.brokers.redis.embedded import EmbeddedRedis

CONNECTIONS: Final = 1000
WINDOW: Final = 64
PAYLOAD_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration: the server's flags, its cores, and the cores of everything else (None: all)."""

    name: str
    flags: tuple[str, ...]
    server_cores: frozenset[int] | None
    other_cores: frozenset[int] | None


ROWS: Final = (
    Row("memory", (), frozenset({0}), frozenset({1})),
    Row("redis", ("--redis-url", "{redis}"), frozenset({0}), frozenset({1})),
    Row("one", ("--redis-url", "{redis}"), None, None),
    Row("two", ("--redis-url", "{redis}", "--workers", "2"), None, None),
)


@contextlib.contextmanager
def running(row: Row, redis_url: str) -> Iterator[tuple[str, int]]:
    """Start the server of `row`; yields its URL and process id."""
    flags = [flag.format(redis=redis_url) for flag in row.flags]
    port = free_port()
    command = [sys.executable, "-m", "fastws", "serve", "--port", str(port), "--log-level", "error", *flags]
    with pinned(row.server_cores):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until_open(process, port, f"the server of {row.name}")
        yield f"ws://127.0.0.1:{port}/", process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def pinned(cores: frozenset[int] | None) -> Iterator[None]:
    """Run this process, and what it starts, on `cores`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cores is None else cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def measure(row: Row, url: str, pid: int, seconds: float) -> Result:
    plan = Plan(
        urls=(url,),
        connections=CONNECTIONS,
        window=WINDOW,
        payload_bytes=PAYLOAD_BYTES,
        warm_seconds=0.5,
        seconds=seconds,
        drain_seconds=2.0,
    )
    with pinned(row.other_cores):
        async with Load(plan) as load:
            await load.connect()
            edges: list[tuple[float, Usage]] = []
            result = await load.run(at_start_and_end=lambda: edges.append((time.monotonic(), usage_of([pid]))))
    (began, before), (ended, after) = edges
    result.server_cpu = (after.cpu_seconds - before.cpu_seconds) / (ended - began)
    if not result.is_complete:
        raise SystemExit(f"{row.name}: messages were lost: {result.to_text()}")
    return result


def table(results: dict[str, list[Result]]) -> str:
    """Medians, and the ratios between the rows."""
    delivered = {
        name: statistics.median(result.deliveries_per_second for result in found) for name, found in results.items()
    }
    per_core = {
        name: statistics.median(result.deliveries_per_second / (result.server_cpu or 1) for result in found)
        for name, found in results.items()
    }
    lines = [f"{'':<8}{'deliveries/s':>14}{'per s of server CPU':>22}"]
    lines += [f"{name:<8}{delivered[name]:>14,.0f}{per_core[name]:>22,.0f}" for name in results]
    lines += [
        f"redis / memory, deliveries/s           {delivered['redis'] / delivered['memory']:.2f}",
        f"redis / memory, per s of server CPU    {per_core['redis'] / per_core['memory']:.2f}",
        f"two / one process, deliveries/s        {delivered['two'] / delivered['one']:.2f}",
        f"two / one process, per s of server CPU {per_core['two'] / per_core['one']:.2f}",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per row and round [2]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the medians count [3]")
    options = parser.parse_args()
    with pinned(frozenset({1})):
        redis = EmbeddedRedis()
    results: dict[str, list[Result]] = {row.name: [] for row in ROWS}
    try:
        for _ in range(options.rounds):
            for row in ROWS:
                with running(row, redis.url) as (url, pid):
                    results[row.name].append(asyncio.run(measure(row, url, pid, options.seconds)))
    finally:
        redis.stop()
    print(table(results))


if __name__ == "__main__":
    main()
