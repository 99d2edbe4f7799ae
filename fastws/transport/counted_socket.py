"""A socket that is counted from its accept on: for the process, and for the address of its client."""

from __future__ import annotations

import asyncio
import socket

from fastws.access.proxies import UNIX
from fastws.admission.gate import Gate
from fastws.errors import FastWSError
from fastws.transport.lifecycle import Lifecycle


class CountedSocket(asyncio.Protocol):
    """Counted until it is upgraded or closed. A trusted proxy's socket counts for the client that the proxy names."""

    __slots__ = ("_lifecycle", "address", "gate", "is_internal", "is_made", "peer", "share")

    def __init__(self, gate: Gate, lifecycle: Lifecycle, *, is_internal: bool) -> None:
        self.gate = gate
        self._lifecycle = lifecycle
        self.is_internal = is_internal
        # The key of the address for which this socket is counted, "" for no address; None while it is not counted.
        self.share: str | None = None
        # The address of the peer, or of the client that the PROXY protocol header names.
        self.peer = ""
        # The address of the client of the current request.
        self.address = ""
        # Whether `connection_made` was called. Until then the code that accepted the socket has to close it.
        self.is_made = False

    def enter(self, peer: str) -> FastWSError | None:
        """Count this socket, which was accepted from `peer`. Returns the error to refuse it with, if any."""
        self.peer = self.address = peer
        self.share = ""
        capacity = self.gate.capacity
        capacity.sockets += 1
        if self.is_internal:
            return None
        try:
            capacity.check_socket()
            if capacity.limits_addresses and not self.gate.is_proxy(peer):
                self.count_for(peer)
        except FastWSError as error:
            return error
        return None

    def turn_away(self, error: FastWSError) -> None:
        """Record that this socket was closed without a response, before `error` could be sent."""
        self._lifecycle.refused(error, self.address)
        self.leave()

    def leave(self) -> None:
        """Stop counting this socket: it is closed, or upgraded. Idempotent."""
        share, self.share = self.share, None
        if share is not None:
            self.gate.capacity.sockets -= 1
            if share:
                self.gate.capacity.give_back(share)

    def count_for(self, address: str) -> None:
        """Count this socket for `address` only. Raises RateLimited, and then it counts for no address."""
        self.count_for_nobody()
        self.share = self.gate.capacity.take_share(address)

    def count_for_nobody(self) -> None:
        """Count this socket for no address."""
        share, self.share = self.share, ""
        if share:
            self.gate.capacity.give_back(share)


def peer_of(transport: asyncio.BaseTransport) -> str | None:
    """Return the peer's address, UNIX on a Unix socket; None if the peer has already reset the connection.

    Data of such a peer may still be readable. It must not be taken for a client on this machine.
    """
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return _without_mapping(str(peer[0]))
    connection = transport.get_extra_info("socket")
    return UNIX if connection is not None and connection.family == socket.AF_UNIX else None


def peer_name(family: int, address: object) -> str:
    """Return the peer's address as `accept` reports it for a socket of `family`; UNIX on a Unix socket."""
    return UNIX if family == socket.AF_UNIX or not isinstance(address, tuple) else _without_mapping(str(address[0]))


def _without_mapping(address: str) -> str:
    """Return `address`; of an IPv4 client on a socket for IPv6 and IPv4, such as ::ffff:192.0.2.1, the IPv4 address."""
    return address.removeprefix("::ffff:") if "." in address else address
