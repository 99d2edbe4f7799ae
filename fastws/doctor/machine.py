"""Checks of the machine: file descriptors, listen backlog, local ports, memory, CPUs."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastws.access.local_peers import is_loopback
from fastws.admission.capacity import HTTP_DESCRIPTORS, OWN_DESCRIPTORS
from fastws.config import Config
from fastws.cpus import usable_cpus
from fastws.doctor.finding import Finding, fail, ok, warn
from fastws.server.unix_socket import BACKLOG

# Memory of an idle connection, including the kernel's socket.
CONNECTION_BYTES: Final = 8192
MIN_MEMORY_BYTES: Final = 128 << 20
# Open before the first client connects: standard streams, event loop, libraries.
IDLE_DESCRIPTORS: Final = 16
FEW_CONNECTIONS: Final = 10_000
FEW_PORTS: Final = 20_000
_MEGABYTE: Final = 1 << 20


@dataclass(slots=True, frozen=True)
class Machine:
    """Figures of the operating system; None where it does not provide them (other than Linux)."""

    descriptors: int
    somaxconn: int | None
    ports: tuple[int, int] | None
    memory_bytes: int | None
    processors: int

    @property
    def connections(self) -> int:
        """The number of connections that the descriptors of one process allow."""
        return max(self.descriptors - OWN_DESCRIPTORS - HTTP_DESCRIPTORS - IDLE_DESCRIPTORS, 0)


def read_machine(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Machine:
    """Read the figures of this machine, with the limits of the current user."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # `fastws serve` raises the soft limit to it
    return Machine(
        descriptors=sys.maxsize if hard == resource.RLIM_INFINITY else hard,
        somaxconn=_number(proc / "sys/net/core/somaxconn"),
        ports=_ports(proc / "sys/net/ipv4/ip_local_port_range"),
        memory_bytes=_memory(proc / "meminfo", groups),
        processors=usable_cpus(proc, groups),
    )


def check_machine(machine: Machine, config: Config) -> Iterator[Finding]:
    """Yield the findings on `machine` for a server with these settings."""
    yield _descriptors(machine, config)
    yield _backlog(machine)
    yield _local_ports(machine, config)
    yield _memory_finding(machine, config)
    yield _processors(machine, config)


def _descriptors(machine: Machine, config: Config) -> Finding:
    fits = machine.connections
    state = f"{machine.descriptors:,} per process: enough for {fits:,} connections"
    remedy = "raise the hard limit: LimitNOFILE= in systemd, --ulimit nofile= in containers, /etc/security/limits.conf"
    if config.max_connections > fits:
        return fail("descriptors", f"{state}, less than max_connections ({config.max_connections:,})", remedy)
    if not config.max_connections and fits < FEW_CONNECTIONS:
        return warn("descriptors", state, remedy)
    return ok("descriptors", state)


def _backlog(machine: Machine) -> Finding:
    if machine.somaxconn is None:
        return ok("backlog", "unknown: this system does not report its limit")
    if machine.somaxconn < BACKLOG:
        return warn(
            "backlog",
            f"limited to {machine.somaxconn:,} by the kernel, fastws asks for {BACKLOG:,}: "
            "when many clients reconnect at once, some are refused",
            f"sysctl -w net.core.somaxconn={BACKLOG} net.ipv4.tcp_max_syn_backlog={BACKLOG}",
        )
    return ok("backlog", f"{BACKLOG:,} connections can wait to be accepted")


def _local_ports(machine: Machine, config: Config) -> Finding:
    if machine.ports is None:
        return ok("local ports", "unknown: this system does not report its local ports")
    low, high = machine.ports
    count = high - low + 1
    state = f"{count:,} ({low} to {high}): the limit for connections from a local proxy to one server address"
    wanted = config.max_connections * config.workers
    is_behind_local_proxy = config.unix_socket is None and is_loopback(config.host)
    if is_behind_local_proxy and (count < FEW_PORTS or wanted > count):
        return warn(
            "local ports",
            state,
            "sysctl -w net.ipv4.ip_local_port_range='1024 65535', or connect the proxy over unix_socket",
        )
    return ok("local ports", state)


def _memory_finding(machine: Machine, config: Config) -> Finding:
    if machine.memory_bytes is None:
        return ok("memory", "unknown: this system does not report free memory")
    free, connections = machine.memory_bytes, config.max_connections * config.workers
    state = f"{free // _MEGABYTE:,} MB free: enough for about {free // CONNECTION_BYTES:,} idle connections"
    if free < MIN_MEMORY_BYTES or connections * CONNECTION_BYTES > free:
        return warn("memory", state, "add memory, lower max_connections, or use more machines with one Redis")
    return ok("memory", state)


def _processors(machine: Machine, config: Config) -> Finding:
    state = f"{machine.processors} for {config.workers} worker{'s' * (config.workers > 1)}"
    if config.workers > machine.processors:
        return warn("processors", state, f"more workers than CPUs add no capacity: set workers to {machine.processors}")
    return ok("processors", state)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _ports(path: Path) -> tuple[int, int] | None:
    low, _, high = _text(path).partition("\t")
    return (int(low), int(high)) if low.isdigit() and high.strip().isdigit() else None


def _memory(path: Path, groups: Path) -> int | None:
    """Return the available memory, or the rest of the container's limit if that is less."""
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
