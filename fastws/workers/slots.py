"""Slots of workers. A slot owns listening sockets that outlive its worker, so that restarts refuse no connection."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastws.backoff import Backoff
from fastws.config import Config
from fastws.server.listening import Address, bind, distinct
from fastws.server.unix_socket import BACKLOG, listen_at
from fastws.workers.child import Child

FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 15.0
# A worker that ran this long was healthy: the backoff starts again.
HEALTHY_SECONDS: Final = 30.0
# If a slot waits longer than this for its restart, its sockets are closed: connections go to the other slots.
EMPTY_SECONDS: Final = 1.0


def _restart_backoff() -> Backoff:
    # Without jitter: the workers of one machine exit for different reasons, and operators read the exact wait.
    return Backoff(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, has_jitter=False)


@dataclass(slots=True, eq=False)
class Slot:
    """Sockets on all `addresses` and the workers that serve them: one, or two while a new worker takes over.

    Slots share addresses through SO_REUSEPORT; on a Unix path and on inherited sockets (no `addresses`) they share one
    socket.
    """

    number: int
    addresses: list[Address]
    sockets: list[socket.socket]
    children: list[Child] = field(default_factory=list)
    backoff: Backoff = field(default_factory=_restart_backoff)
    restart_at: float | None = None
    deaths: int = 0

    @property
    def is_served(self) -> bool:
        """Whether a worker serves this slot or is starting."""
        return any(not child.is_leaving for child in self.children)

    def note_death(self, child: Child, now: float) -> None:
        """Schedule a restart after `child` exited unexpectedly, later each time it happens in a row."""
        self.deaths += 1
        if now - child.started_at >= HEALTHY_SECONDS:
            self.backoff.reset()
        seconds = self.backoff.next_seconds()
        self.restart_at = now + seconds
        if seconds > EMPTY_SECONDS and self.addresses:
            self.close()

    def reopen(self) -> None:
        """Bind the sockets again if `note_death` closed them; the worker calls listen(). Raises OSError."""
        if not self.sockets:
            self.sockets = [bind(*address, is_shared=True) for address in self.addresses]

    def close(self) -> None:
        for listener in self.sockets:
            listener.close()
        self.sockets = []


def open_slots(config: Config, inherited: Sequence[socket.socket] = ()) -> list[Slot]:
    """Return a listening slot for each of `config.workers`. Raises OSError, also if the address is in use.

    On `inherited` sockets and on a Unix path all slots share the same sockets.
    """
    if inherited:
        return [Slot(number, [], [shared.dup() for shared in inherited]) for number in range(config.workers)]
    if config.unix_socket is not None:
        shared = listen_at(Path(config.unix_socket))
        slots = [Slot(number, [], [shared.dup()]) for number in range(config.workers)]
        shared.close()
        return slots
    addresses = _addresses(config.host, config.port)
    slots = []
    for number in range(config.workers):
        sockets = [bind(*address, is_shared=True) for address in addresses]
        for listener in sockets:
            listener.listen(BACKLOG)
        slots.append(Slot(number, addresses, sockets))
    return slots


def _addresses(host: str, port: int) -> list[Address]:
    """Return all addresses of `host`, with one port that is free on each of them. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[Address] = []
    for family, place in distinct((int(family), (str(place[0]), port, *place[2:])) for family, _, _, _, place in found):
        # Keep the flow info and scope id of an IPv6 address.
        with bind(family, (place[0], port, *place[2:]), is_shared=False) as probe:
            # Listen without SO_REUSEPORT first: with it, two servers of one user would silently share the port.
            probe.listen(1)
            port = port or int(probe.getsockname()[1])
        addresses.append((family, (place[0], port, *place[2:])))
    return addresses
