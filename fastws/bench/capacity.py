"""A capacity model: estimates the processes, memory and network that a load needs, from measured costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Final

# Descriptors of a process besides its clients: listening sockets, Redis, logs, HTTP requests.
SPARE_DESCRIPTORS: Final = 200
# The kernel distributes connections by a hash, so some processes get more than the average: plan for this factor.
ROOM: Final = 1.1
# Overhead of a message: the keys of a delivery in the channels dialect, and the frame header.
ENVELOPE_BYTES: Final = 100
# From this number of processes on, the estimate suggests to join messages.
MANY_PROCESSES: Final = 32
# Overhead of a write: headers of Ethernet, IP and TCP with timestamps.
PACKET_BYTES: Final = 66


def _cost(default: float, meaning: str) -> float:
    """A field of Costs."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(slots=True, frozen=True, kw_only=True)
class Costs:
    """Costs measured by `python benchmarks/capacity.py` (benchmarks/results/capacity.md says where and when).

    CPU in µs, including the kernel and, on loopback, its work for the receiver; memory in bytes, the kernel's listed
    separately. A write is one `send` to one connection, with one or several messages. The costs are those of a server
    that is not busy: a busy one joins waiting messages, so each costs less.
    """

    write_us: float = _cost(5.17, "a write: one `send` to one connection")
    kibibyte_us: float = _cost(0.0662, "each KiB of a message, for each receiver")
    publication_us: float = _cost(144.0, "a single publication over a WebSocket, with its confirmation")
    redis_publication_us: float = _cost(116.0, "the same over Redis")
    heard_us: float = _cost(96.7, "a publication that a process receives from Redis")
    ping_us: float = _cost(11.9, "one ping and pong of a connection (each `ping_interval`)")
    connect_us: float = _cost(58.0, "a connection, from accept to the confirmed subscription")
    process_bytes: float = _cost(44.2e6, "a process without connections; shared memory counts once")
    connection_bytes: float = _cost(1_840.0, "an idle subscribed connection")
    kernel_connection_bytes: float = _cost(4_710.0, "the same in the kernel")
    redis_publish_us: float = _cost(6.69, "Redis, for each publication")
    redis_delivery_us: float = _cost(1.07, "Redis, for each process that receives it")

    def rows(self) -> list[tuple[str, str]]:
        """(meaning, amount) of each cost."""
        return [(field.metadata["meaning"], _amount(field.name, getattr(self, field.name))) for field in fields(self)]


@dataclass(slots=True, frozen=True, kw_only=True)
class Demand:
    """The load to plan for.

    Each publication has `fan_out` receivers on average, spread over all processes; publications are spread over
    `channels`. `load` is the largest share of a core that a process or Redis may use.
    """

    connections: int
    publications_per_second: float
    fan_out: float
    channels: int = 1
    payload_bytes: int = 128
    flush_ms: float = 0.0
    ping_seconds: float = 30.0
    descriptors: int = 20_000
    load: float = 0.6

    @property
    def deliveries_per_second(self) -> float:
        return self.publications_per_second * self.fan_out

    @property
    def writes_per_second(self) -> float:
        """Fewer than deliveries if `flush_ms` joins messages of a channel."""
        joined = 1.0 + self.publications_per_second / self.channels * self.flush_ms / 1000
        return self.deliveries_per_second / joined

    def check(self) -> None:
        """Raises ValueError with a message for the user."""
        if self.connections < 1 or self.channels < 1:
            raise ValueError("--connections and --channels must be 1 or more")
        if self.publications_per_second < 0 or self.fan_out < 0:
            raise ValueError("--rate and --fan-out must be 0 or more")
        if self.descriptors <= SPARE_DESCRIPTORS:
            raise ValueError(f"--descriptors must be more than {SPARE_DESCRIPTORS}, which a process needs for itself")
        if self.fan_out > self.connections:
            raise ValueError(f"--fan-out must not exceed --connections ({self.connections:,})")


@dataclass(slots=True, frozen=True, kw_only=True)
class Needs:
    """The resources that a demand requires.

    `decided_by` names what limits a process; `redis_installations` is 0 without Redis.
    """

    processes: int
    decided_by: str
    cores: float
    cpu_each: float
    deliveries_per_second: float
    egress_bits_per_second: float
    server_bytes: float
    kernel_bytes: float
    redis_deliveries_per_second: float
    redis_share: float
    redis_installations: int
    reconnect_seconds: float

    def to_text(self, demand: Demand) -> str:
        lines = [
            (
                f"{demand.connections:,} connections, {demand.publications_per_second:,.0f} publications/s"
                f" to {demand.fan_out:,.0f} receivers each = {self.deliveries_per_second:,.0f} deliveries/s"
            ),
            f"processes        {self.processes}{self._reason()}, {self.cpu_each:.0%} of a core each",
            f"memory           {self.server_bytes / 1e6:,.0f} MB, and {self.kernel_bytes / 1e6:,.0f} MB in the kernel",
            f"network          {self.egress_bits_per_second / 1e6:,.0f} Mbit/s out",
            f"reconnect        all clients {self.reconnect_seconds:,.1f} s after a restart, with one core per process",
        ]
        if self.redis_installations:
            lines.append(
                f"Redis            {self.redis_deliveries_per_second:,.0f} messages/s to processes,"
                f" {self.redis_share:.0%} of a core (Redis uses one core)"
            )
        if self.redis_installations > 1:
            lines += [
                f"                 too much for one Redis: use {self.redis_installations}, each with its own processes",
                "                 and its own part of the channels",
            ]
        if self.decided_by == "CPU" and self.processes >= MANY_PROCESSES and not demand.flush_ms:
            lines.append("hint             --flush-interval joins messages into fewer writes and needs fewer processes")
        lines += [
            "An estimate from costs measured on one machine (measure yours: python benchmarks/capacity.py). It assumes",
            "one write per message; a busy server joins messages and delivers more, a few milliseconds later.",
        ]
        return "\n".join(lines)

    def _reason(self) -> str:
        return f" (limited by {self.decided_by})" if self.processes > 1 else ""


def estimate(demand: Demand, costs: Costs = Costs()) -> Needs:
    """Returns the fewest processes that stay within `demand.load` of a core and their descriptors.

    Raises ValueError if the demand is invalid, or if no number of processes is enough.
    """
    demand.check()
    processes, decided_by = _processes(demand, costs)
    used = cores(demand, processes, costs)
    redis = demand.publications_per_second * hearing(demand, processes) if processes > 1 else 0.0
    share = redis_cores(demand, processes, costs) if processes > 1 else 0.0
    return Needs(
        processes=processes,
        decided_by=decided_by,
        cores=used,
        cpu_each=used / processes,
        deliveries_per_second=demand.deliveries_per_second,
        egress_bits_per_second=8 * _egress_bytes(demand),
        server_bytes=server_bytes(demand.connections, processes, costs),
        kernel_bytes=demand.connections * costs.kernel_connection_bytes,
        redis_deliveries_per_second=redis,
        redis_share=share,
        redis_installations=max(1, math.ceil(share / demand.load)) if processes > 1 else 0,
        reconnect_seconds=demand.connections * costs.connect_us / 1e6 / processes,
    )


def _processes(demand: Demand, costs: Costs) -> tuple[int, str]:
    """How many, and what decides it."""
    by_descriptors = 1
    if demand.connections > demand.descriptors - SPARE_DESCRIPTORS:
        by_descriptors = math.ceil(demand.connections * ROOM / (demand.descriptors - SPARE_DESCRIPTORS))
    processes = by_descriptors
    while cores(demand, processes, costs) > demand.load * processes:
        processes += 1
        if processes > demand.connections:
            raise ValueError(
                "receiving all publications overloads each process: split the channels among several Redis"
            )
    if processes > by_descriptors:
        return processes, "CPU"
    return processes, "descriptors" if processes > 1 else "one is enough"


def cores(demand: Demand, processes: int, costs: Costs = Costs()) -> float:
    """CPU of all server processes, in cores."""
    rate = demand.publications_per_second
    kibibytes = demand.deliveries_per_second * (demand.payload_bytes + ENVELOPE_BYTES) / 1024
    microseconds = (
        demand.writes_per_second * costs.write_us
        + kibibytes * costs.kibibyte_us
        + (demand.connections / demand.ping_seconds * costs.ping_us if demand.ping_seconds else 0.0)
    )
    if processes == 1:
        return (microseconds + rate * costs.publication_us) / 1e6
    over_redis = rate * costs.redis_publication_us + rate * hearing(demand, processes) * costs.heard_us
    return (microseconds + over_redis) / 1e6


def hearing(demand: Demand, processes: int) -> float:
    """The number of processes that have a receiver of a publication, if receivers are distributed at random."""
    return processes * (1.0 - math.pow(1.0 - 1.0 / processes, demand.fan_out))


def redis_cores(demand: Demand, processes: int, costs: Costs = Costs()) -> float:
    """CPU of Redis in cores, of which it can use one. The costs are those of a busy Redis, which handles pipelines."""
    rate = demand.publications_per_second
    return rate * (costs.redis_publish_us + hearing(demand, processes) * costs.redis_delivery_us) / 1e6


def server_bytes(connections: int, processes: int, costs: Costs = Costs()) -> float:
    """Memory of all server processes, with shared memory counted once. Several processes have a supervisor too."""
    return (processes + (processes > 1)) * costs.process_bytes + connections * costs.connection_bytes


def _egress_bytes(demand: Demand) -> float:
    payload = demand.deliveries_per_second * (demand.payload_bytes + ENVELOPE_BYTES)
    return payload + demand.writes_per_second * PACKET_BYTES


def _amount(name: str, value: float) -> str:
    if name.endswith("_us"):
        return f"{value:.1f} µs" if value >= 10 else f"{value:.2f} µs"
    return f"{value / 1e6:.0f} MB" if value >= 1e6 else f"{value:,.0f} B"
