"""A socket that counts from its accept: for the process, and for the address that it comes from or speaks for."""

from __future__ import annotations

import asyncio
import socket

from fastws.access.proxies import UNIX
from fastws.admission.gate import Gate
from fastws.errors import FastWSError
from fastws.transport.lifecycle import Lifecycle


class CountedSocket(asyncio.Protocol):
    """Counts until it is upgraded or gone. A trusted proxy's socket counts for the client whom the proxy names."""

    __slots__ = ("_gate", "_is_internal", "_lifecycle", "_peer", "_share", "address", "is_made")

    def __init__(self, gate: Gate, lifecycle: Lifecycle, *, is_internal: bool) -> None:
        self._gate = gate
        self._lifecycle = lifecycle
        self._is_internal = is_internal
        # The key of the address that this socket counts for, "" for none; None while it is not counted.
        self._share: str | None = None
        self._peer = ""
        self.address = ""
        # Whether the transport is up: until then whoever accepted the socket answers for it.
        self.is_made = False

    def enter(self, peer: str) -> FastWSError | None:
        """Count this socket, which was accepted from `peer`. Returns what it is to be refused with."""
        self._peer = self.address = peer
        self._share = ""
        capacity = self._gate.capacity
        capacity.sockets += 1
        if self._is_internal:
            return None
        try:
            capacity.check_socket()
            if capacity.limits_addresses and not self._gate.is_proxy(peer):
                self._count_for(peer)
        except FastWSError as error:
            return error
        return None

    def turn_away(self, error: FastWSError) -> None:
        """This socket, which was to be refused with `error`, was closed before it could be told."""
        self._lifecycle.refused(error, self.address)
        self.leave()

    def leave(self) -> None:
        """This socket is gone, or upgraded."""
        share, self._share = self._share, None
        if share is not None:
            self._gate.capacity.sockets -= 1
            if share:
                self._gate.capacity.give_back(share)

    def _count_for(self, address: str) -> None:
        """Count this socket for `address`, and for no other. Raises RateLimited, and then it counts for none."""
        self._count_for_nobody()
        self._share = self._gate.capacity.take_share(address)

    def _count_for_nobody(self) -> None:
        share, self._share = self._share, ""
        if share:
            self._gate.capacity.give_back(share)


def peer_of(transport: asyncio.BaseTransport) -> str | None:
    """The address of who is connected, UNIX on a Unix socket; None for who has reset the connection already.

    What such a peer has sent may still be there to be read: it must not pass for somebody on this machine.
    """
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return str(peer[0])
    connection = transport.get_extra_info("socket")
    return UNIX if connection is not None and connection.family == socket.AF_UNIX else None


def peer_name(family: int, address: object) -> str:
    """The address of a peer as `accept` says it of a socket of `family`; UNIX on a Unix socket."""
    return UNIX if family == socket.AF_UNIX or not isinstance(address, tuple) else str(address[0])
