"""The cost of connections: memory, CPU and descriptors of the server, and kernel memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastws.bench.usage import Usage, kernel_slab_bytes, kernel_socket_bytes, usage_of


@dataclass(frozen=True, slots=True)
class Cost:
    """A sample. `slab_bytes` and `socket_bytes` are of the whole machine: on loopback, both ends of each connection."""

    at: float
    use: Usage
    slab_bytes: int
    socket_bytes: int

    @property
    def kernel_bytes(self) -> int:
        return self.slab_bytes + self.socket_bytes


def cost_of(pids: list[int]) -> Cost:
    """Sample these processes and their descendants."""
    return Cost(time.monotonic(), usage_of(pids), kernel_slab_bytes(), kernel_socket_bytes())


def cores(before: Cost, after: Cost) -> float:
    """CPU between two samples, in cores."""
    return (after.use.cpu_seconds - before.use.cpu_seconds) / (after.at - before.at)
