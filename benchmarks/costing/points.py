"""Points at which the model of capacity is held against what is measured; none of them goes into its costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final

from costing.runs import cores_used, growth, serving

from fastws.bench.capacity import Costs, Demand, cores, server_bytes
from fastws.bench.plan import Plan

# A prediction within this factor of what is measured, either way, is one to order machines by.
NEAR: Final = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A load, what the model says of it, and what was measured: cores, or bytes."""

    name: str
    unit: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured if self.measured else 0.0

    @property
    def is_near(self) -> bool:
        return 1 / NEAR <= self.ratio <= NEAR

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A demand on one machine: `processes` workers, over Redis where there are several."""

    name: str
    demand: Demand
    processes: int = 1


MEMORY_CONNECTIONS: Final = 15_000
CASES: Final = (
    Case(
        name="2000 subscribers of one channel, 30 messages/s",
        demand=Demand(connections=2000, publications_per_second=30, fan_out=2000),
    ),
    Case(
        name="100 channels of 10, 1000 messages/s",
        demand=Demand(connections=1000, publications_per_second=1000, fan_out=10, channels=100),
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


def points(costs: Costs, redis_url: str, seconds: float) -> Iterator[Point]:
    """Each as soon as it is measured."""
    for case in CASES:
        predicted = cores(case.demand, case.processes, costs)
        yield Point(name=case.name, unit="cores", predicted=predicted, measured=_measure(case, redis_url, seconds))
    with serving() as server:
        grown = growth(server, MEMORY_CONNECTIONS)
    yield Point(
        name=f"memory of one process with {MEMORY_CONNECTIONS:,} idle subscribed connections",
        unit="bytes",
        predicted=server_bytes(MEMORY_CONNECTIONS, 1, costs),
        measured=float(grown.empty_bytes + grown.server_bytes),
    )


def _measure(case: Case, redis_url: str, seconds: float) -> float:
    demand = case.demand
    flags = ["--flush-interval", f"{demand.flush_ms:g}"]
    if case.processes > 1:
        flags += ["--redis-url", redis_url, "--workers", str(case.processes)]
    with ExitStack() as stack:
        server = stack.enter_context(serving(*flags))
        plan = Plan(
            urls=(server.url,),
            connections=demand.connections,
            channels=demand.channels,
            rate=demand.publications_per_second,
            payload_bytes=demand.payload_bytes,
            seconds=seconds,
        )
        return cores_used(plan, [server.pid])[0]
