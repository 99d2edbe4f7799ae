"""A small model of capacity: what connections, publications and their fan-out need, from measured costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Final

# What a process needs for itself: listening sockets, Redis, logs, requests over HTTP.
SPARE_DESCRIPTORS: Final = 200
# The kernel spreads connections by a hash: so much more room than the average needs is ordered.
ROOM: Final = 1.1
# Around `data`: the keys of a delivery in the channels dialect, and the frame's header.
ENVELOPE_BYTES: Final = 100
# Around each write: IP, TCP with timestamps, Ethernet.
PACKET_BYTES: Final = 66


def _cost(default: float, meaning: str) -> float:
    """A field of Costs."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(slots=True, frozen=True, kw_only=True)
class Costs:
    """As `python benchmarks/capacity.py` measured them (benchmarks/results/capacity.md says where and when).

    µs of CPU with the kernel's part, and for loopback that is the receiver's part, too; bytes of memory, the kernel's
    apart. A write is one `send` to one connection, of one message or of several that were due together. They are those
    of a server with time to spare: a busy one joins what waits, and each costs less.
    """

    write_us: float = _cost(5.17, "a write: one `send` to one connection")
    kibibyte_us: float = _cost(0.0662, "each KiB of a message, for each receiver")
    publication_us: float = _cost(144.0, "a publication that comes alone, over a WebSocket: in, and its receipt")
    redis_publication_us: float = _cost(116.0, "the same over Redis")
    heard_us: float = _cost(96.7, "a publication that a process hears from Redis")
    ping_us: float = _cost(11.9, "keeping a connection for a `ping_interval`: ping and pong")
    connect_us: float = _cost(58.0, "a connection, from accept to the confirmed subscription")
    process_bytes: float = _cost(44.2e6, "a process without connections, what processes share counted once")
    connection_bytes: float = _cost(1_840.0, "an idle subscribed connection")
    kernel_connection_bytes: float = _cost(4_710.0, "the same in the kernel")
    redis_publish_us: float = _cost(6.69, "Redis, for a publication")
    redis_delivery_us: float = _cost(1.07, "Redis, for each process that hears it")

    def rows(self) -> list[tuple[str, str]]:
        """What each is, and how much."""
        return [(field.metadata["meaning"], _amount(field.name, getattr(self, field.name))) for field in fields(self)]


@dataclass(slots=True, frozen=True, kw_only=True)
class Demand:
    """`fan_out` receivers a publication on average, spread over all processes; publications spread over `channels`.
    `load` is the share of a core that a process, or Redis, may use at most."""

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
        """Fewer than deliveries where a channel's messages wait for each other: `flush_ms` from the first one on."""
        joined = 1.0 + self.publications_per_second / self.channels * self.flush_ms / 1000
        return self.deliveries_per_second / joined

    def check(self) -> None:
        """Raises ValueError in words."""
        if self.connections < 1 or self.channels < 1 or self.publications_per_second < 0 or self.fan_out < 0:
            raise ValueError("connections and channels from 1, a rate and a fan-out from 0")
        if self.descriptors <= SPARE_DESCRIPTORS:
            raise ValueError(f"more than {SPARE_DESCRIPTORS} descriptors a process")
        if self.fan_out > self.connections:
            raise ValueError("a fan-out of no more than there are connections")


@dataclass(slots=True, frozen=True, kw_only=True)
class Needs:
    """What the demand needs, and what decides the number of processes. `redis_installations`: 0 = none is needed."""

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
            f"processes        {self.processes} (decided by {self.decided_by}), {self.cpu_each:.0%} of a core each",
            f"memory           {self.server_bytes / 1e6:,.0f} MB, and {self.kernel_bytes / 1e6:,.0f} MB in the kernel",
            f"network          {self.egress_bits_per_second / 1e6:,.0f} Mbit/s out",
            f"everybody back   {self.reconnect_seconds:,.1f} s after a restart, each process on a core of its own",
        ]
        if self.redis_installations:
            lines.append(
                f"Redis            {self.redis_deliveries_per_second:,.0f} messages/s to processes,"
                f" {self.redis_share:.0%} of the one core that a Redis uses"
            )
        if self.redis_installations > 1:
            lines += [
                f"                 more than one should bear: {self.redis_installations} of them, each with its own",
                "                 group of processes and its own part of the channels",
            ]
        lines += [
            "All of it is computed, from costs measured on one machine (yours: python benchmarks/capacity.py), as if",
            "each message were a write of its own: a busy process joins what waits, and passes on more, some ms later.",
        ]
        return "\n".join(lines)


def estimate(demand: Demand, costs: Costs = Costs()) -> Needs:
    """The fewest processes that keep below `demand.load` of a core and within their descriptors.

    Raises ValueError where the demand makes no sense, or no number of processes is enough.
    """
    demand.check()
    by_descriptors = math.ceil(demand.connections * ROOM / (demand.descriptors - SPARE_DESCRIPTORS))
    processes = by_descriptors
    if demand.connections <= demand.descriptors - SPARE_DESCRIPTORS:
        processes = by_descriptors = 1
    while cores(demand, processes, costs) > demand.load * processes:
        processes += 1
        if processes > demand.connections:
            raise ValueError("hearing every publication alone is more than a process can do: split the channels")
    used = cores(demand, processes, costs)
    redis = demand.publications_per_second * hearing(demand, processes) if processes > 1 else 0.0
    share = redis_cores(demand, processes, costs) if processes > 1 else 0.0
    return Needs(
        processes=processes,
        decided_by="CPU" if processes > by_descriptors else "descriptors" if processes > 1 else "one is enough",
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


def cores(demand: Demand, processes: int, costs: Costs = Costs()) -> float:
    """CPU of all server processes together, in cores."""
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
    """Processes that have at least one receiver of a publication: its receivers are spread at random."""
    return processes * (1.0 - math.pow(1.0 - 1.0 / processes, demand.fan_out))


def redis_cores(demand: Demand, processes: int, costs: Costs = Costs()) -> float:
    """CPU of Redis, in cores; it has one. From what it does a CPU second when it is busy, that is with pipelines."""
    rate = demand.publications_per_second
    return rate * (costs.redis_publish_us + hearing(demand, processes) * costs.redis_delivery_us) / 1e6


def server_bytes(connections: int, processes: int, costs: Costs = Costs()) -> float:
    """Memory of all server processes, what they share counted once; several have a supervisor."""
    return (processes + (processes > 1)) * costs.process_bytes + connections * costs.connection_bytes


def _egress_bytes(demand: Demand) -> float:
    payload = demand.deliveries_per_second * (demand.payload_bytes + ENVELOPE_BYTES)
    return payload + demand.writes_per_second * PACKET_BYTES


def _amount(name: str, value: float) -> str:
    if name.endswith("_us"):
        return f"{value:.1f} µs" if value >= 10 else f"{value:.2f} µs"
    return f"{value / 1e6:.0f} MB" if value >= 1e6 else f"{value:,.0f} B"
