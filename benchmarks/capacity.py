"""The costs behind `fastws bench --plan`, measured on this machine, and the model held against loads of other shapes.

    python benchmarks/capacity.py                    # some 2 minutes
    fastws bench --plan --costs benchmarks/results/capacity.json --connections 200000 --rate 500 --fan-out 2000

Needs two cores and `pip install 'fastws[bench,embedded]'`: the servers are on one core, Redis and the load client on
the other. Writes results/capacity.json and capacity.md. Exit code 1 where a prediction is off by more than 1.3.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from comparison.charts import number
from costing.points import NEAR, Point, points
from costing.redis_load import MANY, deliveries_per_second, redis_costs
from costing.runs import OTHER_CORES, Grown, cores_used, growth, pinned, serving

from fastws.bench.capacity import ENVELOPE_BYTES, Costs
from fastws.bench.plan import Plan
from fastws.bench.progress import Progress
from fastws.brokers.redis_embedded import EmbeddedRedis

RESULTS: Final = Path(__file__).parent / "results"
IDLE_CONNECTIONS: Final = 5000
PING_SECONDS: Final = 2.0
LARGE_BYTES: Final = 4096
UNDER_WAY: Final = 16


def measure(redis: EmbeddedRedis, seconds: float, show: Progress) -> Costs:
    """Each cost from loads in which it weighs most."""
    show.show(0.0, "idle connections")
    with serving() as server:
        grown = growth(server, IDLE_CONNECTIONS)
    show.show(0.1, "pings")
    with serving("--ping-interval", f"{PING_SECONDS:g}") as server:
        idle = Plan(urls=(server.url,), connections=IDLE_CONNECTIONS, mode="idle", seconds=max(seconds, PING_SECONDS))
        pinging = cores_used(idle, [server.pid])[0]
    show.show(0.2, "writes")
    write_us, publication_us, kibibyte_us = _delivery_costs(seconds)
    show.show(0.5, "Redis")
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
    """(a write of 128 bytes, a publication, a KiB) in µs: from many receivers, from few, and from large messages."""
    used = []
    for connections, rate, payload in ((1000, 60.0, 128), (10, 1000.0, 128), (1000, 60.0, LARGE_BYTES)):
        with serving() as server:
            plan = Plan(urls=(server.url,), connections=connections, rate=rate, payload_bytes=payload, seconds=seconds)
            used.append(cores_used(plan, [server.pid])[0] / rate * 1e6)
    many, few, large = used
    write = (many - few) / (1000 - 10)
    return write, few - 10 * write, (large - many) / 1000 / ((LARGE_BYTES - 128) / 1024)


def _with_redis(redis: EmbeddedRedis, seconds: float, write_us: float) -> Costs:
    """Two servers, one receiver at each; the publisher is at the first."""
    rate = 1000.0
    with serving("--redis-url", redis.url) as first, serving("--redis-url", redis.url) as second:
        plan = Plan(urls=(first.url, second.url), connections=2, rate=rate, seconds=seconds)
        publishing, hearing = cores_used(plan, [first.pid], [second.pid])
    heard = hearing / rate * 1e6 - write_us
    assert redis.pid is not None
    publish, delivery = redis_costs(_path(redis), redis.pid, seconds, under_way=1)
    return Costs(
        redis_publication_us=publishing / rate * 1e6 - heard - write_us,
        heard_us=heard,
        redis_publish_us=publish,
        redis_delivery_us=delivery,
    )


def _path(redis: EmbeddedRedis) -> str:
    return redis.url.removeprefix("unix://")


def markdown(costs: Costs, busy_redis: float, found: list[Point], machine: str) -> str:
    alone = deliveries_per_second(costs.redis_publish_us, costs.redis_delivery_us)
    lines = [
        "# What the model of capacity stands on",
        "",
        f"Written by `python benchmarks/capacity.py`. {machine}; servers on one core, Redis and load client on the",
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="measured of each load [5]")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    show = Progress()
    with pinned(OTHER_CORES):
        redis = EmbeddedRedis()
    try:
        costs = measure(redis, options.seconds, show)
        assert redis.pid is not None
        busy = deliveries_per_second(*redis_costs(_path(redis), redis.pid, options.seconds, under_way=UNDER_WAY))
        found = []
        for point in points(costs, redis.url, options.seconds):
            show.clear()
            print(
                f"{point.name:<66}computed {_amount(point.predicted, point.unit)}"
                f"  measured {_amount(point.measured, point.unit)}  ratio {point.ratio:.2f}",
                flush=True,
            )
            found.append(point)
            show.show(0.7 + 0.05 * len(found), "points")
    finally:
        show.clear()
        redis.stop()
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    document = {
        "machine": machine,
        "costs": asdict(costs),
        "busy_redis_deliveries_per_second": busy,
        "points": [point.to_dict() for point in found],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "capacity.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.output / "capacity.md").write_text(markdown(costs, busy, found, machine))
    far = [point.name for point in found if not point.is_near]
    for name in far:
        print(f"off by more than {NEAR:g}: {name}")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
