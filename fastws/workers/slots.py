"""The places of workers: each has listening sockets that outlive who serves them, so that nobody is refused."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastws.config import Config
from fastws.server.unix_socket import BACKLOG, listen_at
from fastws.workers.child import Child

FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 15.0
# Who ran this long was well: the next death is no repetition.
WELL_SECONDS: Final = 30.0
# A place that stays empty for longer than this takes no connections meanwhile: they go to the others.
EMPTY_SECONDS: Final = 1.0

# Family and address, as `socket.bind` wants it.
Address = tuple[int, tuple[str | int, ...]]


@dataclass(slots=True, eq=False)
class Slot:
    """Sockets on all `addresses`, and the workers that serve them: one, two while one takes over from the other.

    Slots share their addresses by SO_REUSEPORT; on a Unix path (no `addresses`) they share one socket.
    """

    number: int
    addresses: list[Address]
    sockets: list[socket.socket]
    children: list[Child] = field(default_factory=list)
    backoff_seconds: float = FIRST_BACKOFF_SECONDS
    restart_at: float | None = None
    deaths: int = 0

    @property
    def is_served(self) -> bool:
        """Whether somebody serves this slot, or is about to."""
        return any(not child.is_leaving for child in self.children)

    def note_death(self, child: Child, now: float) -> None:
        """`child` died without being told to: set `restart_at`, later each time. Raises nothing."""
        self.deaths += 1
        if now - child.started_at >= WELL_SECONDS:
            self.backoff_seconds = FIRST_BACKOFF_SECONDS
        self.restart_at = now + self.backoff_seconds
        if self.backoff_seconds > EMPTY_SECONDS and self.addresses:
            self.close()
        self.backoff_seconds = min(self.backoff_seconds * 2, MAX_BACKOFF_SECONDS)

    def reopen(self) -> None:
        """Have sockets again where `note_death` closed them; the worker begins to listen. Raises OSError."""
        if not self.sockets:
            self.sockets = [_bind(address) for address in self.addresses]

    def close(self) -> None:
        for listener in self.sockets:
            listener.close()
        self.sockets = []


def open_slots(config: Config) -> list[Slot]:
    """Listen for each of `config.workers`. Raises OSError, also where somebody listens there already."""
    if config.unix_socket is not None:
        shared = listen_at(Path(config.unix_socket))
        slots = [Slot(number, [], [shared.dup()]) for number in range(config.workers)]
        shared.close()
        return slots
    addresses = _addresses(config.host, config.port)
    slots = []
    for number in range(config.workers):
        sockets = [_bind(address) for address in addresses]
        for listener in sockets:
            listener.listen(BACKLOG)
        slots.append(Slot(number, addresses, sockets))
    return slots


def _addresses(host: str, port: int) -> list[Address]:
    """All addresses of `host`, with a port that is free on each."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[Address] = []
    for family, _, _, _, place in found:
        # The scope of an IPv6 address and its flow stay as they are.
        address = (int(family), (str(place[0]), port, *place[2:]))
        with _socket(address, is_shared=False) as probe:
            # Without SO_REUSEPORT and listening: else two servers of one user would share the port unasked.
            probe.listen(1)
            port = port or int(probe.getsockname()[1])
        addresses.append((address[0], (str(place[0]), port, *place[2:])))
    return list(dict.fromkeys(addresses))


def _bind(address: Address) -> socket.socket:
    return _socket(address, is_shared=True)


def _socket(address: Address, *, is_shared: bool) -> socket.socket:
    family, place = address
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
    except OSError:
        listener.close()
        raise
    return listener
