"""Many connections: how they come, what they cost idle, how long one message takes to all, what a death does.

    python loadtest/high_count.py --connections 100000 --workers 6          # a server of its own on a Redis of its own
    python loadtest/high_count.py ws://a:8000/ ws://b:8000/ --connections 200000 --processes 12

Phases: ramp · idle · one message to all · channels of 1000 · slow readers · a worker killed · everybody cut at once. A
process of the load client holds as many connections as it may open files, less a few; on loopback one source address
is used for each 20,000. Every phase is printed as it ends, everything as one JSON document with --json. Exit code 1 if
somebody is missing, or heard less than was published.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from soaking.server import OwnServer

from fastws.bench.accounting import Use, descendants, kernel_slab_bytes, kernel_socket_bytes, use_of
from fastws.bench.load import Load, LoadFailed
from fastws.bench.plan import Plan
from fastws.bench.result import Result

SPARE_DESCRIPTORS = 200
IDLE_SECONDS = 10.0
PER_CHANNEL = 1000
PHASES = ("idle", "all", "kill", "cut", "channels")
Figures = dict[str, Any]


class HighCount:
    """One run over all phases. `figures` grows by one entry a phase."""

    def __init__(self, options: argparse.Namespace, plan: Plan, server: OwnServer | None) -> None:
        self.options = options
        self.plan = plan
        self.server = server
        self.pids = [server.pid] if server is not None else options.pid
        self.figures: dict[str, Figures] = {}
        self.is_whole = True

    async def run(self) -> None:
        self._memory_before = self._memory()
        async with Load(replace(self.plan, reconnect=True)) as load:
            await self._ramp(load)
            for name, phase in (
                ("idle", self._idle),
                ("all", self._one_to_all),
                ("kill", self._kill_worker),
                ("cut", self._cut_all),
            ):
                if name in self.options.phases:
                    await phase(load)
        await self._empty()
        if "channels" not in self.options.phases:
            return
        for name, changes in self._other_loads().items():
            async with Load(replace(self.plan, **changes)) as load:
                await load.connect()
                result = await load.run(rate=self.options.rate, seconds=10.0)
            self._done(name, {**_latencies(result), **_completeness(result), "slow_closed": result.slow_closed}, result)
            await self._empty()

    def _other_loads(self) -> dict[str, dict[str, Any]]:
        return {
            f"channels of {PER_CHANNEL}": {"channels": max(1, self.plan.connections // PER_CHANNEL)},
            "a tenth reads nothing": {
                "channels": max(1, self.plan.connections // PER_CHANNEL),
                "slow_fraction": 0.1,
                "payload_bytes": 4096,
            },
        }

    async def _ramp(self, load: Load) -> None:
        before = use_of(self.pids)
        await load.connect()
        after = use_of(self.pids)
        self.is_whole &= load.ready == self.plan.connections
        self._done(
            "ramp",
            {
                "connected": load.ready,
                "seconds": load.connect_seconds,
                "connects_per_second": load.ready / load.connect_seconds,
                "server_cpu_us_each": (after.cpu_seconds - before.cpu_seconds) / load.ready * 1e6,
                "refusals": dict(load.refusals),
            },
        )

    async def _idle(self, load: Load) -> None:
        before = use_of(self.pids)
        await asyncio.sleep(IDLE_SECONDS)
        after = use_of(self.pids)
        memory = self._memory()
        grown = {name: memory[name] - self._memory_before[name] for name in memory}
        count = load.ready
        self._done(
            "idle",
            {
                "server_cpu": (after.cpu_seconds - before.cpu_seconds) / IDLE_SECONDS,
                "server_rss_mb": memory["rss"] / 1e6,
                "server_pss_mb": after.pss_bytes / 1e6,
                "rss_bytes_each": grown["rss"] / count,
                # Both ends of a connection on loopback: a server alone has half of it.
                "kernel_bytes_each_pair": (grown["slab"] + grown["sockets"]) / count,
                "descriptors": after.descriptors,
                "processes": after.processes,
            },
        )

    async def _one_to_all(self, load: Load) -> None:
        """One message at a time, to everybody: when the first and the last had it, from the moment it was due."""
        for size in (1, 5):
            result = await load.run(rate=0.5, messages=size, warm_seconds=0.0, seconds=2.0 * size)
            figures = {"first_ms": result.min_us / 1e3, "last_ms": result.max_us / 1e3, **_completeness(result)}
            self._done(f"{size} message(s) to all", {**figures, "timed": result.timed}, result)

    async def _kill_worker(self, load: Load) -> None:
        """SIGKILL one of the workers: its clients must be back, the others must not notice."""
        if self.server is None or self.options.workers < 2:
            return
        victims = descendants(self.server.pid)
        killed = self.server.kill_worker()
        await asyncio.sleep(0.5)
        gone = load.ready - load.connected
        ready, seconds = await load.wait_ready()
        self.is_whole &= ready == self.plan.connections
        result = await load.run(rate=1.0, messages=2, warm_seconds=0.0, seconds=3.0)
        figures = {"killed": killed, "of_processes": len(victims), "seen_gone_after_500_ms": gone}
        self._done("a worker killed", {**figures, "all_back_seconds": seconds + 0.5, **_completeness(result)}, result)

    async def _cut_all(self, load: Load) -> None:
        before = self._memory()
        ready, seconds = await load.cut()
        self.is_whole &= ready == self.plan.connections
        await asyncio.sleep(2.0)
        after = self._memory()
        figures = {
            "back": ready,
            "seconds": seconds,
            "refusals": dict(load.refusals),
            "server_rss_mb_before": before["rss"] / 1e6,
        }
        self._done("everybody cut at once", {**figures, "server_rss_mb_after": after["rss"] / 1e6})

    async def _empty(self) -> None:
        """Until the server has let go of everybody."""
        idle = self._use().descriptors
        for _ in range(60):
            await asyncio.sleep(0.5)
            now = self._use().descriptors
            if now == idle:
                break
            idle = now

    def _use(self) -> Use:
        return use_of(self.pids)

    def _memory(self) -> dict[str, int]:
        return {"rss": use_of(self.pids).rss_bytes, "slab": kernel_slab_bytes(), "sockets": kernel_socket_bytes()}

    def _done(self, phase: str, figures: Figures, result: Result | None = None) -> None:
        if result is not None and (result.missing or result.repeated or result.rejected):
            self.is_whole = False
        rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}
        self.figures[phase] = rounded
        if not self.options.json:
            print(f"{phase:<24}" + "  ".join(f"{name} {value}" for name, value in rounded.items()), flush=True)


def _latencies(result: Result) -> Figures:
    names: dict[str, Callable[[Result], float]] = {
        "p50_ms": lambda r: r.p50_us,
        "p99_ms": lambda r: r.p99_us,
        "max_ms": lambda r: r.max_us,
    }
    figures: Figures = {name: take(result) / 1e3 for name, take in names.items()}
    return {"deliveries_per_second": result.deliveries_per_second, **figures}


def _completeness(result: Result) -> Figures:
    return {"missing": result.missing, "repeated": result.repeated, "rejected": result.rejected}


def main() -> int:
    options = _arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    processes = options.processes or math.ceil(options.connections / (hard - SPARE_DESCRIPTORS))
    server = None
    if not options.url:
        workers = options.workers or math.ceil(options.connections / (hard - SPARE_DESCRIPTORS) * 1.1)
        options.workers = workers
        server = OwnServer(workers=workers, options=["--log-level", "warning", *options.server_option])
        server.start()
    urls = tuple(options.url) or (server.url,)  # type: ignore[union-attr] # one of the two there is
    plan = Plan(
        urls=urls,
        connections=options.connections,
        processes=processes,
        connect_seconds=options.connect_timeout,
        connect_rate=options.connect_rate,
        drain_seconds=20.0,
        token=options.token,
    )
    run = HighCount(options, plan, server)
    try:
        asyncio.run(run.run())
    except LoadFailed as error:
        print(f"high_count: {error}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.stop()
    if options.json:
        print(json.dumps({"connections": options.connections, "ok": run.is_whole, **run.figures}))
    return 0 if run.is_whole else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", nargs="*", metavar="URL", help="servers that run; default: one of our own")
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=0, help="of our own server [what the descriptors need]")
    parser.add_argument("--processes", type=int, default=0, help="of the load client [what the descriptors need]")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second in the last two phases [20]")
    parser.add_argument(
        "--connect-rate", type=float, default=0.0, help="connects a second [as fast as they are answered]"
    )
    parser.add_argument("--connect-timeout", type=float, default=180.0, metavar="S")
    parser.add_argument("--token", metavar="JWT")
    parser.add_argument("--pid", type=int, action="append", default=[], help="server processes here, for their memory")
    parser.add_argument("--server-option", action="append", default=[], help="a flag for our own server; repeatable")
    parser.add_argument(
        "--phases",
        type=lambda text: set(text.split(",")),
        default=set(PHASES),
        metavar="A,B",
        help=f"of {', '.join(PHASES)} [all]",
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
