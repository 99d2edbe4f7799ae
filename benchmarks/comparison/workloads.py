"""The workloads that every server gets, and how each is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from comparison.servers import Peer, running

from fastws.bench.load import Load
from fastws.bench.plan import Plan
from fastws.bench.progress import Progress
from fastws.bench.result import Result
from fastws.bench.usage import Usage, busy_seconds, usage_of

# A measurement is repeated if other programs used more than this share of either core.
DISTURBED: Final = 0.08
BUSY: Final = 0.88
TRIES: Final = 2
# (server busy, client busy) -> what limited the throughput.
_BOUND: Final = {(True, False): "server", (True, True): "both", (False, True): "client", (False, False): "neither"}
SETTLE_SECONDS: Final = 1.0


@dataclass(slots=True, frozen=True)
class Workload:
    """A plan, and the figure that is taken from its result: `value`, in `unit`."""

    name: str
    title: str
    unit: str
    fields: Mapping[str, Any]
    value: Callable[[Result], float]
    higher_is_better: bool = True
    path: str = ""


def _per_connection(result: Result) -> float:
    return (result.server_rss_bytes or 0) / result.connections


FAN_OUT: Final = {"connections": 1000, "drain_seconds": 3.0}
WORKLOADS: Final = (
    Workload(
        "fanout64",
        "Fan-out to 1000 subscribers, 64 messages in flight",
        "deliveries/s",
        {**FAN_OUT, "window": 64},
        lambda result: result.deliveries_per_second,
    ),
    Workload(
        "fanout1",
        "Fan-out to 1000 subscribers, 1 message in flight",
        "deliveries/s",
        {**FAN_OUT, "window": 1},
        lambda result: result.deliveries_per_second,
    ),
    Workload(
        "echo",
        "Echo, 100 connections with 8 messages in flight each",
        "messages/s",
        {"connections": 100, "window": 8, "mode": "echo", "dialect": "echo"},
        lambda result: result.deliveries_per_second,
        path="echo",
    ),
    Workload(
        "idle",
        "Memory of an idle subscribed connection (5000 of them)",
        "bytes",
        {"connections": 5000, "mode": "idle"},
        _per_connection,
        higher_is_better=False,
    ),
    Workload(
        "connect",
        "Connections to the confirmed subscription (the same 5000)",
        "connects/s",
        {},
        lambda result: result.connects_per_second,
    ),
)


@dataclass(slots=True)
class Row:
    """One measurement. CPU is in cores; `bound` names what was busy."""

    server: str
    workload: str
    value: float
    server_cpu: float = 0.0
    client_cpu: float = 0.0
    others_cpu: float = 0.0
    bound: str = ""
    is_complete: bool = True
    latencies_us: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True, frozen=True)
class Cores:
    """The cores of the server and of the load client."""

    server: int
    client: int


class CpuSamples:
    """CPU of the server, of the client and of both cores at the start and at the end of the measured time."""

    def __init__(self, pid: int, load: Load, cores: Cores) -> None:
        self._pid, self._load, self._cores = pid, load, cores
        self._samples: list[tuple[float, Usage, Usage, float, float]] = []

    def __call__(self) -> None:
        cores = self._cores
        self._samples.append(
            (
                time.monotonic(),
                usage_of([self._pid]),
                usage_of(self._load.pids),
                busy_seconds(cores.server),
                busy_seconds(cores.client),
            )
        )

    def shares(self) -> tuple[float, float, float]:
        """(server, client, others) in cores. `others` is the larger of their shares of the two cores."""
        first, last = self._samples
        seconds = last[0] - first[0]
        server = (last[1].cpu_seconds - first[1].cpu_seconds) / seconds
        client = (last[2].cpu_seconds - first[2].cpu_seconds) / seconds
        on_server_core = (last[3] - first[3]) / seconds - server
        on_client_core = (last[4] - first[4]) / seconds - client
        return server, client, max(0.0, on_server_core, on_client_core)


def measure(peer: Peer, workload: Workload, *, seconds: float, cores: Cores) -> list[Row]:
    """Start `peer`, run `workload` and measure; once more if other programs used the cores."""
    if workload.name == "idle":
        return _measure_idle(peer, workload, cores)
    best: Row | None = None
    for _ in range(TRIES):
        with running(peer, server_core=cores.server, client_core=cores.client) as (pid, url):
            plan = Plan(urls=(url + workload.path,), seconds=seconds, warm_seconds=0.5, **workload.fields)
            row = asyncio.run(_measure(peer.name, workload, plan, pid, cores))
        if best is None or row.others_cpu < best.others_cpu:
            best = row
        if best.others_cpu < DISTURBED:
            break
    assert best is not None
    return [best]


async def _measure(server: str, workload: Workload, plan: Plan, pid: int, cores: Cores) -> Row:
    async with Load(plan, NoProgress()) as load:
        await load.connect()
        edges = CpuSamples(pid, load, cores)
        result = await load.run(at_start_and_end=edges)
    return _row(server, workload.name, workload.value(result), result, edges)


def _row(server: str, workload: str, value: float, result: Result, edges: CpuSamples) -> Row:
    server_cpu, client_cpu, others = edges.shares()
    latencies = {name: getattr(result, f"{name}_us") for name in ("p50", "p90", "p99", "p999", "max", "min")}
    bound = _BOUND[server_cpu >= BUSY, client_cpu >= BUSY]
    if others >= DISTURBED:
        bound = "disturbed"
    return Row(server, workload, value, server_cpu, client_cpu, others, bound, result.is_complete, latencies)


def _measure_idle(peer: Peer, workload: Workload, cores: Cores) -> list[Row]:
    """Memory of idle connections, and connects per second."""
    with running(peer, server_core=cores.server, client_core=cores.client) as (pid, url):
        return asyncio.run(_idle(peer.name, workload, Plan(urls=(url,), **workload.fields), pid))


async def _idle(server: str, workload: Workload, plan: Plan, pid: int) -> list[Row]:
    async with Load(replace(plan, connections=10), NoProgress()) as load:
        await load.connect()  # the first connections load code and fill pools; the others do not
    await asyncio.sleep(SETTLE_SECONDS)
    async with Load(plan, NoProgress()) as load:
        before = usage_of([pid])
        await load.connect()
        connected = usage_of([pid])
        result = await load.run(seconds=SETTLE_SECONDS)
        result.server_rss_bytes = usage_of([pid]).rss_bytes - before.rss_bytes
    server_cpu = (connected.cpu_seconds - before.cpu_seconds) / load.connect_seconds
    client_cpu = sum(load.connect_cpu)
    bound = _BOUND[server_cpu >= BUSY, client_cpu >= BUSY]
    return [
        Row(server, workload.name, workload.value(result), is_complete=result.is_complete),
        Row(server, "connect", result.connects_per_second, server_cpu, client_cpu, 0.0, bound, result.is_complete),
    ]


class NoProgress(Progress):
    """Shows nothing: the progress line belongs to the whole run."""

    def __init__(self) -> None:
        super().__init__()
        self.is_shown = False
