"""The costs behind `fastws bench --plan`, measured on this machine, and the model held against loads of other shapes.

    python benchmarks/capacity.py                    # medians of three rounds, some 4 minutes
    fastws bench --plan --costs benchmarks/results/capacity.json --connections 200000 --rate 500 --fan-out 2000

Needs two cores and `pip install 'fastws[bench,embedded]'`: the servers are on one core, Redis and the load client on
the other. Writes results/capacity.json and capacity.md. Exit code 1 where a prediction is off by more than half.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from comparison.charts import number
from comparison.report import machine
from costing.points import CASES, NEAR, Point, measured, points
from costing.redis_load import MANY, deliveries_per_second, redis_costs
from costing.runs import OTHER_CORES, Grown, cores_used, growth, pinned, serving

from fastws.bench.capacity import ENVELOPE_BYTES, Costs
from fastws.bench.plan import Plan
from fastws.bench.progress import Progress
from fastws.brokers.redis.embedded import EmbeddedRedis

RESULTS: Final = Path(__file__).parent / "results"
IDLE_CONNECTIONS: Final = 5000
PING_SECONDS: Final = 2.0
LARGE_BYTES: Final = 4096
UNDER_WAY: Final = 16
# Shown of a round: four of the costs, each case, and the memory.
STEPS: Final = 4 + len(CASES) + 1


def measure(redis: EmbeddedRedis, seconds: float, show: Callable[[str], None]) -> Costs:
    """Each cost from loads in which it weighs most."""
    show("idle connections")
    with serving() as server:
        grown = growth(server, IDLE_CONNECTIONS)
    show("pings")
    with serving("--ping-interval", f"{PING_SECONDS:g}") as server:
        idle = Plan(urls=(server.url,), connections=IDLE_CONNECTIONS, mode="idle", seconds=max(seconds, PING_SECONDS))
        pinging = cores_used(idle, [server.pid])[0]
    show("writes")
    write_us, publication_us, kibibyte_us = _delivery_costs(seconds)
    show("Redis")
    costs = _with_redis(redis, seconds, write_us)
    return replace(
        costs,
        write_us=write_us - kibibyte_us * (128 + ENVELOPE_BYTES) / 1024,
        kibibyte_us=kibibyte_us,
        publication_us=publication_us,
        ping_us=pinging / (IDLE_CONNECTIONS / PING_SECONDS) * 1e6,
        **_of_connections(grown),
    )


def _of_connections(grown: Grown) -> dict[str, float]:
    return {
        "connect_us": grown.cpu_seconds / grown.connections * 1e6,
        "process_bytes": float(grown.empty_bytes),
        "connection_bytes": grown.server_bytes / grown.connections,
        "kernel_connection_bytes": grown.kernel_bytes / grown.connections / 2,
    }


def _delivery_costs(seconds: float) -> tuple[float, float, float]:
    """(a write of 128 bytes, a publication, a KiB) in µs: from many receivers, from few, and from large messages.

    Few receivers are a few of many connections: the processor's caches hold a few, and those would cost less.
    """
    used = []
    for connections, channels, rate, payload in (
        (1000, 1, 60.0, 128),
        (3000, 300, 300.0, 128),
        (1000, 1, 60.0, LARGE_BYTES),
    ):
        with serving() as server:
            plan = Plan(
                urls=(server.url,),
                connections=connections,
                channels=channels,
                rate=rate,
                payload_bytes=payload,
                seconds=seconds,
            )
            used.append(cores_used(plan, [server.pid])[0] / rate * 1e6)
    many, few, large = used
    write = (many - few) / (1000 - 10)
    return write, few - 10 * write, max(0.0, (large - many) / 1000 / ((LARGE_BYTES - 128) / 1024))


def _with_redis(redis: EmbeddedRedis, seconds: float, write_us: float) -> Costs:
    """Two servers, half of each channel's ten receivers at each; the publisher is at the first."""
    rate, channels, receivers = 300.0, 301, 10
    with serving("--redis-url", redis.url) as first, serving("--redis-url", redis.url) as second:
        # An odd number of channels: an even one would have all its receivers at one server.
        plan = Plan(
            urls=(first.url, second.url),
            connections=channels * receivers,
            channels=channels,
            rate=rate,
            seconds=seconds,
        )
        publishing, hearing = cores_used(plan, [first.pid], [second.pid])
    heard = hearing / rate * 1e6 - receivers / 2 * write_us
    assert redis.pid is not None
    publish, delivery = redis_costs(_path(redis), redis.pid, seconds, under_way=1)
    return Costs(
        redis_publication_us=(publishing - hearing) / rate * 1e6,
        heard_us=heard,
        redis_publish_us=publish,
        redis_delivery_us=delivery,
    )


def _path(redis: EmbeddedRedis) -> str:
    return redis.url.removeprefix("unix://")


def markdown(costs: Costs, busy_redis: float, found: list[Point]) -> str:
    alone = deliveries_per_second(costs.redis_publish_us, costs.redis_delivery_us)
    lines = [
        "# What the model of capacity stands on",
        "",
        f"Written by `python benchmarks/capacity.py`. {machine()}; servers on one core, Redis and load client on the",
        "other. CPU includes the kernel's part, and on loopback the receiver's part of a `send`.",
        "",
        "| cost | measured |",
        "| --- | ---: |",
    ]
    lines += [f"| {meaning} | {amount} |" for meaning, amount in costs.rows()]
    lines += [
        "",
        f"One Redis passes {number(alone)} messages/s of 256 B on to {MANY} processes where each publication comes",
        f"alone, and {number(busy_redis)} where {UNDER_WAY} come together, as they do when it is busy.",
        "",
        "Held against loads that are not among those that the costs come from:",
        "",
        "| load | computed | measured | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {point.name} | {_amount(point.predicted, point.unit)} | {_amount(point.measured, point.unit)}"
        f" | {point.ratio:.2f} |"
        for point in found
    ]
    return "\n".join(lines) + "\n"


def _amount(value: float, unit: str) -> str:
    return f"{value / 1e6:,.1f} MB" if unit == "bytes" else f"{value:.2f} {unit}"


class Rounds:
    """What was measured in each round; medians are what counts."""

    def __init__(self, redis: EmbeddedRedis, *, seconds: float, rounds: int) -> None:
        self._redis = redis
        self._seconds = seconds
        self._rounds = rounds
        self._costs: list[Costs] = []
        self._busy: list[float] = []
        self._found: dict[str, list[float]] = {}
        self._progress = Progress()
        self._steps = 0

    def run(self) -> None:
        for _ in range(self._rounds):
            self._costs.append(measure(self._redis, self._seconds, self._show))
            assert self._redis.pid is not None
            busy = redis_costs(_path(self._redis), self._redis.pid, self._seconds, under_way=UNDER_WAY)
            self._busy.append(deliveries_per_second(*busy))
            for name, value in measured(self._redis.url, self._seconds):
                self._found.setdefault(name, []).append(value)
                self._show(name)
        self._progress.clear()

    @property
    def costs(self) -> Costs:
        names = asdict(self._costs[0])
        return Costs(**{name: statistics.median(getattr(costs, name) for costs in self._costs) for name in names})

    @property
    def busy_redis(self) -> float:
        return statistics.median(self._busy)

    @property
    def found(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self._found.items()}

    def _show(self, text: str) -> None:
        self._progress.show(self._steps / (STEPS * self._rounds), f"round {len(self._costs) + 1} · {text}")
        self._steps += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="measured of each load [3]")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often, of which the medians count [3]")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with pinned(OTHER_CORES):
        redis = EmbeddedRedis()
    rounds = Rounds(redis, seconds=options.seconds, rounds=options.rounds)
    try:
        rounds.run()
    finally:
        redis.stop()
    costs = rounds.costs
    found = points(costs, rounds.found)
    document = {
        "machine": machine(),
        "costs": asdict(costs),
        "busy_redis_deliveries_per_second": rounds.busy_redis,
        "points": [point.to_dict() for point in found],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "capacity.json").write_text(json.dumps(document, indent=1) + "\n")
    table = markdown(costs, rounds.busy_redis, found)
    (options.output / "capacity.md").write_text(table)
    print(table)
    far = [point.name for point in found if not point.is_near]
    for name in far:
        print(f"off by more than {NEAR:g}: {name}")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
