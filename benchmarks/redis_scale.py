"""What Redis costs, and what a second process brings: one load, three servers, taken in turn in one run.

    python benchmarks/redis_scale.py                 # 3 rounds, some 40 s
    python benchmarks/redis_scale.py --seconds 5 --rounds 5

Needs two cores and `pip install 'fastws[bench,embedded]'`. Every row is 1000 subscribers of one channel with 64
publications under way, sent by one client and heard by all. `memory` and `redis` have core 0 for the server and core 1
for everything else; `one` and `two` (processes, both over Redis) share both cores with the client, so that what they
deliver in a second of their own CPU time is the figure to compare. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fastws.bench.accounting import Use, use_of
from fastws.bench.load import Load
from fastws.bench.plan import Plan
from fastws.bench.result import Result
from fastws.brokers.redis.embedded import EmbeddedRedis

CONNECTIONS: Final = 1000
WINDOW: Final = 64
PAYLOAD_BYTES: Final = 128
_LISTENS: Final = re.compile(rb"listens on (ws://\S+)")


@dataclass(frozen=True, slots=True)
class Row:
    """A server under test: its flags, and the cores of it and of the rest (None: all)."""

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
    """The server of `row`: its URL and process id."""
    flags = [flag.format(redis=redis_url) for flag in row.flags]
    command = [sys.executable, "-m", "fastws", "serve", "--port", "0", "--log-level", "error", *flags]
    with pinned(row.server_cores):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        match = _LISTENS.search(process.stdout.readline())
        if match is None:
            raise SystemExit(f"the server of {row.name} did not start")
        yield match[1].decode(), process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def pinned(cores: frozenset[int] | None) -> Iterator[None]:
    """This process, and whatever it starts meanwhile, on `cores`."""
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
            edges: list[tuple[float, Use]] = []
            result = await load.run(at_edges=lambda: edges.append((time.monotonic(), use_of([pid]))))
    (began, before), (ended, after) = edges
    result.server_cpu = (after.cpu_seconds - before.cpu_seconds) / (ended - began)
    if not result.is_whole:
        raise SystemExit(f"{row.name}: not everybody heard everything: {result.to_text()}")
    return result


def table(results: dict[str, list[Result]]) -> str:
    """Medians, and the ratios that the rows are there for."""
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
    parser.add_argument("--seconds", type=float, default=2.0, help="measured of each row and round")
    parser.add_argument("--rounds", type=int, default=3)
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
