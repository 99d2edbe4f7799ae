"""Checks the capacity model against measured loads that were not used to derive its costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

from costing.runs import cores_used, measure_growth, running_server

from fastws.bench.capacity import Costs, Demand, cores, server_bytes
from fastws.bench.plan import Plan

# A prediction within this factor of the measurement is good enough to size machines: a `send` alone takes 3.2 to 5.5 µs
# on the same machine, depending on what else uses its core and caches.
TOLERANCE: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A load, its predicted and its measured usage, in cores or bytes."""

    name: str
    unit: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured if self.measured else 0.0

    @property
    def is_close(self) -> bool:
        return 1 / TOLERANCE <= self.ratio <= TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A demand on one machine with `processes` workers; several are connected by Redis."""

    name: str
    demand: Demand
    processes: int = 1


MEMORY_CONNECTIONS: Final = 15_000
MEMORY_NAME: Final = f"memory of one process with {MEMORY_CONNECTIONS:,} idle subscribed connections"
CASES: Final = (
    Case(
        name="2000 subscribers of one channel, 30 messages/s",
        demand=Demand(connections=2000, publications_per_second=30, fan_out=2000),
    ),
    Case(
        name="150 channels of 20, 300 messages/s",
        demand=Demand(connections=3000, publications_per_second=300, fan_out=20, channels=150),
    ),
    Case(
        name="500 subscribers, 50 messages/s of 4 KiB",
        demand=Demand(connections=500, publications_per_second=50, fan_out=500, payload_bytes=4096),
    ),
    Case(
        name="1000 subscribers, 200 messages/s, flush_interval 20 ms",
        demand=Demand(connections=1000, publications_per_second=200, fan_out=1000, flush_ms=20.0),
    ),
    Case(
        name="2 processes over Redis, 20 channels of 100, 200 messages/s",
        demand=Demand(connections=2000, publications_per_second=200, fan_out=100, channels=20),
        processes=2,
    ),
)


def measure_cases(redis_url: str, seconds: float) -> Iterator[tuple[str, float]]:
    """Measure each case in cores, and then memory in bytes; yields each as soon as it is known."""
    for case in CASES:
        yield case.name, _measure(case, redis_url, seconds)
    with running_server() as server:
        grown = measure_growth(server, MEMORY_CONNECTIONS)
    yield MEMORY_NAME, float(grown.empty_bytes + grown.server_bytes)


def predictions(costs: Costs, found: Mapping[str, float]) -> list[Prediction]:
    """Pairs the measurements with what the model predicts from these costs."""
    computed = {case.name: cores(case.demand, case.processes, costs) for case in CASES}
    computed[MEMORY_NAME] = server_bytes(MEMORY_CONNECTIONS, 1, costs)
    return [
        Prediction(name=name, unit="bytes" if name == MEMORY_NAME else "cores", predicted=value, measured=found[name])
        for name, value in computed.items()
    ]


def _measure(case: Case, redis_url: str, seconds: float) -> float:
    demand = case.demand
    flags = ["--flush-interval", f"{demand.flush_ms:g}"]
    if case.processes > 1:
        flags += ["--redis-url", redis_url, "--workers", str(case.processes)]
    with ExitStack() as stack:
        server = stack.enter_context(running_server(*flags))
        plan = Plan(
            urls=(server.url,),
            connections=demand.connections,
            channels=demand.channels,
            rate=demand.publications_per_second,
            payload_bytes=demand.payload_bytes,
            seconds=seconds,
        )
        return cores_used(plan, [server.pid])[0]
