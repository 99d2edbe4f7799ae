"""Ports of loopback for programs that must be told one: each is given to one test alone, for the whole run."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOWEST = 15_000
BUS = 10_000
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Where the system does not say so: Linux's default, and below those of macOS and Windows.
LOWEST_EPHEMERAL = 32_768


def free_port() -> int:
    """A port on which nothing listens, and nothing will until the test does: not between two starts of a server either.

    The kernel never gives it to an outgoing connection, as it may do with a port that `bind` to port 0 has chosen.
    """
    return next(_ports)


def free_port_with_bus() -> int:
    """A port for a node of a Redis Cluster, whose bus listens on that port + 10000."""
    return next(port for port in _ports_with_bus if _claim(port + BUS))


def _lowest_ephemeral_port() -> int:
    return int(EPHEMERAL_RANGE.read_text().split()[0]) if EPHEMERAL_RANGE.exists() else LOWEST_EPHEMERAL


def _unclaimed(highest: int) -> Iterator[int]:
    first = LOWEST + int.from_bytes(os.urandom(2)) % (highest - LOWEST)
    for port in (*range(first, highest), *range(LOWEST, first)):
        if _claim(port):
            yield port
    raise AssertionError(f"no free port from {LOWEST} to {highest}")


def _claim(port: int) -> bool:
    """Claim `port` until this process ends, among all test processes: by a UDP socket, of which TCP takes no notice."""
    with socket.socket(type=socket.SOCK_DGRAM) as claim, socket.socket() as probe, contextlib.suppress(OSError):
        claim.bind(("127.0.0.1", port))
        probe.bind(("0.0.0.0", port))
        claim.detach()
        return True
    return False


_ports = _unclaimed(_lowest_ephemeral_port())
_ports_with_bus = _unclaimed(_lowest_ephemeral_port() - BUS)
