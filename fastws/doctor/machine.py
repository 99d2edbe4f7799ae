"""What the machine allows: descriptors, waiting connections, ports, memory, processors."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastws.access.permissions import is_loopback
from fastws.admission.capacity import HTTP_DESCRIPTORS, OWN_DESCRIPTORS
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn
from fastws.server.unix_socket import BACKLOG

# Of an idle connection, what the kernel keeps for its socket included.
CONNECTION_BYTES: Final = 8192
LEAST_MEMORY_BYTES: Final = 128 << 20
# Open before the first client comes: streams, the loop, libraries.
STANDING_DESCRIPTORS: Final = 16
FEW_CONNECTIONS: Final = 10_000
FEW_PORTS: Final = 20_000
_MEGABYTE: Final = 1 << 20


@dataclass(slots=True, frozen=True)
class Machine:
    """What was read from the system; None where it does not say (another system than Linux)."""

    descriptors: int
    somaxconn: int | None
    ports: tuple[int, int] | None
    memory_bytes: int | None
    processors: int

    @property
    def connections(self) -> int:
        """How many connections the descriptors of one process are enough for."""
        return max(self.descriptors - OWN_DESCRIPTORS - HTTP_DESCRIPTORS - STANDING_DESCRIPTORS, 0)


def read_machine(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Machine:
    """This machine, as a server that is started by this user sees it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # `fastws serve` raises the soft limit to it
    return Machine(
        descriptors=sys.maxsize if hard == resource.RLIM_INFINITY else hard,
        somaxconn=_number(proc / "sys/net/core/somaxconn"),
        ports=_ports(proc / "sys/net/ipv4/ip_local_port_range"),
        memory_bytes=_memory(proc / "meminfo", groups),
        processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def check_machine(machine: Machine, config: Config) -> Iterator[Finding]:
    """Findings on `machine` for a server with these settings."""
    yield _descriptors(machine, config)
    yield _backlog(machine)
    yield _local_ports(machine, config)
    yield _memory_finding(machine, config)
    yield _processors(machine, config)


def _descriptors(machine: Machine, config: Config) -> Finding:
    fits = machine.connections
    state = f"{machine.descriptors:,} a process: enough for {fits:,} connections"
    remedy = "raise the hard limit: LimitNOFILE= in systemd, --ulimit nofile= in containers, /etc/security/limits.conf"
    if config.max_connections > fits:
        return fail("descriptors", f"{state}, fewer than max_connections ({config.max_connections:,})", remedy)
    if not config.max_connections and fits < FEW_CONNECTIONS:
        return warn("descriptors", state, remedy)
    return ok("descriptors", state)


def _backlog(machine: Machine) -> Finding:
    if machine.somaxconn is None:
        return ok("backlog", "this system does not say how many connections may wait to be accepted")
    if machine.somaxconn < BACKLOG:
        return warn(
            "backlog",
            f"the kernel lets {machine.somaxconn:,} connections wait, fastws asks for {BACKLOG:,}: "
            "a crowd that reconnects at once is refused in part",
            f"sysctl -w net.core.somaxconn={BACKLOG} net.ipv4.tcp_max_syn_backlog={BACKLOG}",
        )
    return ok("backlog", f"{BACKLOG:,} connections may wait to be accepted")


def _local_ports(machine: Machine, config: Config) -> Finding:
    if machine.ports is None:
        return ok("local ports", "this system does not say which ports connections are made from")
    low, high = machine.ports
    count = high - low + 1
    state = f"{count:,} ({low} to {high}): a proxy here holds so many connections to one address of the server"
    wanted = config.max_connections * config.workers
    is_behind_local_proxy = config.unix_socket is None and is_loopback(config.host)
    if is_behind_local_proxy and (count < FEW_PORTS or wanted > count):
        return warn(
            "local ports",
            state,
            "sysctl -w net.ipv4.ip_local_port_range='1024 65535', or let the proxy use unix_socket",
        )
    return ok("local ports", state)


def _memory_finding(machine: Machine, config: Config) -> Finding:
    if machine.memory_bytes is None:
        return ok("memory", "this system does not say how much is free")
    free, connections = machine.memory_bytes, config.max_connections * config.workers
    state = f"{free // _MEGABYTE:,} MB free: some {free // CONNECTION_BYTES:,} idle connections"
    if free < LEAST_MEMORY_BYTES or connections * CONNECTION_BYTES > free:
        return warn("memory", state, "more memory, a smaller max_connections, or more machines joined by one Redis")
    return ok("memory", state)


def _processors(machine: Machine, config: Config) -> Finding:
    state = f"{machine.processors} for {config.workers} worker{'s' * (config.workers > 1)}"
    if config.workers > machine.processors:
        return warn(
            "processors", state, f"workers beyond the processors only take turns: set workers to {machine.processors}"
        )
    return ok("processors", state)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _ports(path: Path) -> tuple[int, int] | None:
    low, _, high = _text(path).partition("\t")
    return (int(low), int(high)) if low.isdigit() and high.strip().isdigit() else None


def _memory(path: Path, groups: Path) -> int | None:
    """What is available, or what is left of the container's limit where that is less."""
    free = [int(line.split()[1]) * 1024 for line in _text(path).splitlines() if line.startswith("MemAvailable:")]
    limit, used = _number(groups / "memory.max"), _number(groups / "memory.current")
    if limit is not None and used is not None:
        free.append(max(limit - used, 0))
    return min(free, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
