"""Latency under a rising rate: raises the rate until a server no longer keeps up, then refines around that rate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from comparison.servers import Peer, running
from comparison.workloads import BUSY, DISTURBED, Cores, CpuSamples, NoProgress

from fastws.bench.load import Load
from fastws.bench.plan import Plan
from fastws.bench.result import Result

# Messages per second. Refinements halve the interval in which a server stops keeping up.
RATES: Final = (10, 30, 100, 200, 400, 700, 1000, 2000, 4000, 7000, 10_000)
WARM_SECONDS: Final = 0.5
# A step is repeated up to this often if other programs used the cores.
TRIES: Final = 3


@dataclass(slots=True, frozen=True, kw_only=True)
class RampPlan:
    """The steps for each server. A server keeps up while the p99 latency is at most `late_us`."""

    connections: int = 1000
    payload_bytes: int = 128
    rates: tuple[int, ...] = RATES
    seconds: float = 3.0
    late_us: float = 100_000.0
    refinements: int = 2


@dataclass(slots=True, frozen=True, kw_only=True)
class Step:
    """One rate at one server. Latencies in µs from the time a message was due; CPU in cores; `sent_late_us` is the
    load client's own delay at p99."""

    server: str
    rate: float
    connections: int
    delivered_share: float
    p50_us: float
    p99_us: float
    max_us: float
    server_cpu: float
    client_cpu: float
    others_cpu: float
    sent_late_us: float
    is_complete: bool
    keeps_up: bool

    @property
    def bound(self) -> str:
        """What limited the step; `client` means that the figure says little about the server."""
        if self.others_cpu >= DISTURBED:
            return "disturbed"
        return "client" if self.client_cpu >= BUSY and self.server_cpu < BUSY else ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ramp(peer: Peer, plan: RampPlan, cores: Cores, on_step: Callable[[Step], None]) -> list[Step]:
    """Returns all steps in order. A server that did not keep up is restarted for the next step."""
    steps = _run_rates(peer, plan, plan.rates, cores, on_step)
    for _ in range(plan.refinements):
        rate = between(steps)
        if rate is None:
            break
        steps += _run_rates(peer, plan, (rate,), cores, on_step)
    return steps


def between(steps: Iterable[Step]) -> int | None:
    """The geometric mean of the highest rate at which the server kept up and the lowest at which it did not."""
    good = max((step.rate for step in steps if step.keeps_up), default=0.0)
    bad = min((step.rate for step in steps if not step.keeps_up and step.rate > good), default=0.0)
    return round(math.sqrt(good * bad)) or None


def knee(steps: Iterable[Step], server: str) -> Step | None:
    """The highest step up to which `server` kept up at every rate; None if it did not at the first."""
    mine = sorted((step for step in steps if step.server == server), key=lambda step: step.rate)
    last = None
    for step in mine:
        if not step.keeps_up:
            break
        last = step
    return last


def _run_rates(
    peer: Peer, plan: RampPlan, rates: Iterable[int], cores: Cores, on_step: Callable[[Step], None]
) -> list[Step]:
    with running(peer, server_core=cores.server, client_core=cores.client) as (pid, url):
        return asyncio.run(_steps(peer.name, pid, url, plan, rates, cores, on_step))


async def _steps(
    server: str,
    pid: int,
    url: str,
    plan: RampPlan,
    rates: Iterable[int],
    cores: Cores,
    on_step: Callable[[Step], None],
) -> list[Step]:
    steps = []
    async with Load(_load_plan(url, plan), NoProgress()) as load:
        await load.connect()
        for rate in rates:
            for _ in range(TRIES):
                samples = CpuSamples(pid, load, cores)
                result = await load.run(rate=float(rate), at_start_and_end=samples)
                step = _step(server, rate, plan, result, samples)
                if step.bound != "disturbed":
                    break
            on_step(step)
            steps.append(step)
            if not step.keeps_up:
                break
    return steps


def _load_plan(url: str, plan: RampPlan) -> Plan:
    return Plan(
        urls=(url,),
        connections=plan.connections,
        payload_bytes=plan.payload_bytes,
        seconds=plan.seconds,
        warm_seconds=WARM_SECONDS,
        drain_seconds=1.0,
    )


def _step(server: str, rate: int, plan: RampPlan, result: Result, samples: CpuSamples) -> Step:
    server_cpu, client_cpu, others_cpu = samples.shares()
    share = result.deliveries_per_second / (rate * plan.connections)
    return Step(
        server=server,
        rate=float(rate),
        connections=plan.connections,
        delivered_share=share,
        p50_us=result.p50_us,
        p99_us=result.p99_us,
        max_us=result.max_us,
        server_cpu=server_cpu,
        client_cpu=client_cpu,
        others_cpu=others_cpu,
        sent_late_us=result.late_us_p99,
        is_complete=result.is_complete,
        keeps_up=result.is_complete and result.timed > 0 and result.p99_us <= plan.late_us,
    )
