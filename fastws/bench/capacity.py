"""A small model of capacity: what connections, publications and their fan-out need, from measured costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

# Redis hands that many messages a second (256 B) to its subscribers, here: processes, not clients.
REDIS_DELIVERIES_PER_SECOND: Final = 650_000
# What a process needs for itself: listening sockets, Redis, logs, requests over HTTP.
SPARE_DESCRIPTORS: Final = 200


@dataclass(slots=True, frozen=True)
class Costs:
    """Measured on one core of the machine that README.md names (`python benchmarks/capacity.py`,
    `python loadtest/high_count.py`); µs of CPU with the kernel's part, bytes of memory with the kernel's part apart.

    A write is one message, or several that were due together, to one connection.
    """

    write_us: float = 5.0
    publication_us: float = 25.0
    heard_us: float = 6.0
    connect_us: float = 80.0
    process_bytes: float = 60e6
    connection_bytes: float = 2_000.0
    kernel_connection_bytes: float = 3_000.0


@dataclass(slots=True, frozen=True, kw_only=True)
class Demand:
    """`fan_out` receivers a publication on average; `load` is the share of a core that may be used at most."""

    connections: int
    publications_per_second: float
    fan_out: float
    descriptors: int = 20_000
    load: float = 0.6


@dataclass(slots=True, frozen=True, kw_only=True)
class Needs:
    """What the demand needs, and what decides the number of processes."""

    processes: int
    decided_by: str
    cpu_each: float
    deliveries_per_second: float
    server_bytes: float
    kernel_bytes: float
    redis_deliveries_per_second: float
    redis_share: float
    reconnect_seconds: float

    def to_text(self, demand: Demand) -> str:
        lines = [
            (
                f"{demand.connections:,} connections, {demand.publications_per_second:,.0f} publications/s"
                f" to {demand.fan_out:,.0f} receivers each = {self.deliveries_per_second:,.0f} deliveries/s"
            ),
            f"processes        {self.processes} (decided by {self.decided_by}), {self.cpu_each:.0%} of a core each",
            f"memory           {self.server_bytes / 1e6:,.0f} MB, and {self.kernel_bytes / 1e6:,.0f} MB in the kernel",
            f"everybody back   {self.reconnect_seconds:,.1f} s of all processes' CPU after a restart",
        ]
        if self.processes > 1:
            lines.append(
                f"Redis            {self.redis_deliveries_per_second:,.0f} messages/s to processes,"
                f" {self.redis_share:.0%} of what one gives"
            )
            if self.redis_share > demand.load:
                lines.append("                 more than one should bear: sharded pub/sub, or several Redis by channel")
        lines.append("Computed from costs measured on one machine; measure yours: fastws bench, loadtest/high_count.py")
        return "\n".join(lines)


def estimate(demand: Demand, costs: Costs = Costs()) -> Needs:
    """The fewest processes that keep below `demand.load` of a core and within their descriptors.

    Worst case of delivery: nothing is joined, every delivery is a write of its own. A publication costs its process
    `publication_us`, and every process that has receivers `heard_us`. Raises ValueError where no number is enough.
    """
    if demand.connections < 1 or demand.descriptors <= SPARE_DESCRIPTORS or demand.publications_per_second < 0:
        raise ValueError(f"connections from 1, a rate from 0, more than {SPARE_DESCRIPTORS} descriptors a process")
    deliveries = demand.publications_per_second * demand.fan_out
    by_descriptors = math.ceil(demand.connections / (demand.descriptors - SPARE_DESCRIPTORS))
    shared = deliveries * costs.write_us + demand.publications_per_second * costs.publication_us
    for_each = demand.publications_per_second * costs.heard_us
    room = demand.load * 1e6 - for_each
    if room <= 0:
        raise ValueError("hearing every publication alone is more than a process can do: split the channels over Redis")
    by_cpu = math.ceil(shared / room)
    processes = max(1, by_cpu, by_descriptors)
    hearing = min(processes, demand.fan_out)
    redis = demand.publications_per_second * hearing if processes > 1 else 0.0
    return Needs(
        processes=processes,
        decided_by="CPU" if by_cpu >= by_descriptors and by_cpu > 1 else "descriptors" if by_descriptors > 1 else "one",
        cpu_each=(shared / processes + for_each) / 1e6,
        deliveries_per_second=deliveries,
        server_bytes=processes * costs.process_bytes + demand.connections * costs.connection_bytes,
        kernel_bytes=demand.connections * costs.kernel_connection_bytes,
        redis_deliveries_per_second=redis,
        redis_share=redis / REDIS_DELIVERIES_PER_SECOND,
        reconnect_seconds=demand.connections * costs.connect_us / 1e6 / processes,
    )
