"""Listening on sockets inherited from the supervisor, on a Unix socket, or on a TCP address."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from fastws.config import Config
from fastws.errors import ConfigError
from fastws.resolver import resolve
from fastws.server.tls import Tls
from fastws.server.tls_server import MakeSocket, TlsServer
from fastws.server.unix_socket import BACKLOG, UnixServer, listen_at
from fastws.settings import host_and_port
from fastws.transport.closing import CLOSE_SECONDS

# Advice that is added to the system's message.
_ADVICE: Final = {
    errno.EADDRINUSE: "; only one worker of an application can embed a server: with several, run `fastws serve` instead"
}

ANY_IPV4: Final = "0.0.0.0"  # noqa: S104 compared, not bound
ANY_IPV6: Final = "::"

# Family and address as `socket.bind` takes it.
Address = tuple[int, tuple[str | int, ...]]
MakeProtocol = Callable[[], asyncio.Protocol]


class CannotListen(OSError):
    """The server cannot listen on the address `where`. `reason` is the message of the system."""

    def __init__(self, where: str, error: OSError) -> None:
        # The loops wrap the system's message in their own; name resolution errors have no errno.
        number = error.errno or 0
        self.reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        self.where = where
        super().__init__(number, f"cannot listen on {where}: {self.reason}{_ADVICE.get(number, '')}")

    def __str__(self) -> str:
        return str(self.strerror)


def place_of(config: Config) -> str:
    """Return the public address as text: HOST:PORT, or the path of the Unix socket."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return config.unix_socket or f"{host}:{config.port}"


class _Server(Protocol):
    def close(self) -> None: ...


class Listeners:
    """The listening sockets of one server. `port` is the public TCP port, 0 on a Unix socket."""

    def __init__(self) -> None:
        self.port = 0
        self._servers: list[_Server] = []
        self._inherited = 0

    async def open(
        self, make: MakeSocket, config: Config, tls: Tls | None, inherited: Sequence[socket.socket] = ()
    ) -> None:
        """Listen on the public address, or on the `inherited` sockets. Raises CannotListen."""

        async def serve(listener: socket.socket) -> _Server:
            loop = asyncio.get_running_loop()
            if tls is not None:
                return _tls_server(make, config, tls, [listener])
            if listener.family == socket.AF_UNIX and not inherited:
                return await loop.create_unix_server(make, sock=listener, backlog=BACKLOG)
            return await loop.create_server(make, sock=listener, backlog=BACKLOG)

        if inherited:
            for listening in inherited:
                self._servers.append(await serve(listening))
            self._inherited = len(inherited)
            self.port = 0 if config.unix_socket is not None else config.port
            return
        try:
            if config.unix_socket is not None:
                unix = await serve(listen_at(Path(config.unix_socket)))
                self._servers.append(UnixServer(unix, config.unix_socket))
                return
            sockets = await bind_all(config.host, config.port)
        except OSError as error:
            raise CannotListen(place_of(config), error) from None
        self.port = sockets[0].getsockname()[1]
        for listening in sockets:
            self._servers.append(await serve(listening))

    async def open_private(self, make: MakeProtocol, path: Path) -> None:
        """Listen on a Unix socket for the other workers of this machine."""
        self._servers.append(await asyncio.get_running_loop().create_unix_server(make, str(path)))

    async def open_for_scrapes(self, make: MakeProtocol, address: str, *, is_shared: bool) -> None:
        """Listen on `metrics_address`, which all workers share (`is_shared`). Raises ConfigError."""
        host, port = host_and_port(address)
        try:
            sockets = await bind_all(host, port, is_shared=is_shared)
        except OSError as error:
            cannot = CannotListen(address, error)
            raise ConfigError(
                f"metrics_address: cannot listen on {address}: {cannot.reason}; choose an address that is free"
            ) from None
        for listening in sockets:
            self._servers.append(await asyncio.get_running_loop().create_server(make, sock=listening))

    def leave_inherited(self) -> None:
        """Stop listening on the inherited sockets, because a new worker listens on them."""
        for server in self._servers[: self._inherited]:
            server.close()

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            if isinstance(server, TlsServer):
                server.abort()
            else:
                server.close()
        self._servers = []


async def bind_all(host: str, port: int, *, is_shared: bool = False) -> list[socket.socket]:
    """Listen on every address of `host`, on the same port. Returns the sockets. Raises OSError and closes all then."""
    sockets: list[socket.socket] = []
    try:
        found = await resolve(host or None, port, flags=socket.AI_PASSIVE)
        for family, address in distinct((each.family, each.address) for each in found):
            sockets.append(bind(family, (address[0], port, *address[2:]), is_shared=is_shared))
            sockets[-1].listen(BACKLOG)
            port = port or int(sockets[-1].getsockname()[1])
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def distinct(addresses: Iterable[Address]) -> list[Address]:
    """Return each of the `addresses` once; without 0.0.0.0 if `::` is among them, whose socket takes IPv4 as well."""
    once = dict.fromkeys(addresses)
    is_dual = any(address[0] == ANY_IPV6 for _, address in once)
    return [(family, address) for family, address in once if not (is_dual and address[0] == ANY_IPV4)]


def bind(family: int, address: tuple[str | int, ...], *, is_shared: bool) -> socket.socket:
    """Return a socket bound to `address`, shared with other processes of this user if `is_shared`. Raises OSError.

    A socket bound to `::` takes IPv4 connections as well.
    """
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != ANY_IPV6))
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _tls_server(make: MakeSocket, config: Config, tls: Tls, sockets: Sequence[socket.socket]) -> TlsServer:
    return TlsServer(make, tls, sockets, handshake_seconds=config.handshake_timeout, shutdown_seconds=CLOSE_SECONDS)
