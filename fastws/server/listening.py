"""Listening: on the sockets that a supervisor has opened, at a Unix socket's path, or at an address of our own."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
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

# Said after the reason, where there is more to say than the system does.
_ADVICE: Final = {
    errno.EADDRINUSE: "; several workers of one application cannot each embed a server: run `fastws serve` beside them"
}

MakeProtocol = Callable[[], asyncio.Protocol]


class CannotListen(OSError):
    """The address cannot be listened on. `reason` is the system's word for why, `where` the address."""

    def __init__(self, where: str, error: OSError) -> None:
        # The loops put words of their own around the system's; a name that was not found has no errno.
        number = error.errno or 0
        self.reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        self.where = where
        super().__init__(number, f"cannot listen on {where}: {self.reason}{_ADVICE.get(number, '')}")

    def __str__(self) -> str:
        return str(self.strerror)


def place_of(config: Config) -> str:
    """Where clients are listened for, in words."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return config.unix_socket or f"{host}:{config.port}"


class _Server(Protocol):
    def close(self) -> None: ...


class Listeners:
    """Everything that one server listens on. `port` is the TCP port of its clients, 0 where there is none."""

    def __init__(self) -> None:
        self.port = 0
        self._servers: list[_Server] = []
        self._inherited = 0

    async def open(
        self, make: MakeSocket, config: Config, tls: Tls | None, inherited: Sequence[socket.socket] = ()
    ) -> None:
        """Listen for clients. Raises CannotListen."""

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
            self.port = config.port
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
        """Listen for the other workers of this machine."""
        self._servers.append(await asyncio.get_running_loop().create_unix_server(make, str(path)))

    async def open_for_scrapes(self, make: MakeProtocol, address: str, *, is_shared: bool) -> None:
        """Listen at `metrics_address`. Workers share it: each shows the figures of all. Raises ConfigError."""
        host, port = host_and_port(address)
        try:
            sockets = await bind_all(host, port, is_shared=is_shared)
        except OSError as error:
            raise ConfigError(f"metrics_address: {CannotListen(address, error)}") from None
        for listening in sockets:
            self._servers.append(await asyncio.get_running_loop().create_server(make, sock=listening))

    def leave_inherited(self) -> None:
        """Listen no more on the sockets that a supervisor has opened: a successor does."""
        for server in self._servers[: self._inherited]:
            server.close()

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers:
            if isinstance(server, TlsServer):
                server.abort()
            else:
                server.close()
        self._servers = []


async def bind_all(host: str, port: int, *, is_shared: bool = False) -> list[socket.socket]:
    """A socket that listens on each address of `host`, all on one port. Raises OSError, and leaves none open then."""
    sockets: list[socket.socket] = []
    try:
        for found in dict.fromkeys(await resolve(host or None, port, flags=socket.AI_PASSIVE)):
            address = (found.address[0], port, *found.address[2:])
            sockets.append(bind(found.family, address, is_shared=is_shared))
            sockets[-1].listen(BACKLOG)
            port = port or int(sockets[-1].getsockname()[1])
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def bind(family: int, address: tuple[str | int, ...], *, is_shared: bool) -> socket.socket:
    """A socket bound to `address`; `is_shared`: to be joined there by others of this user. Raises OSError."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _tls_server(make: MakeSocket, config: Config, tls: Tls, sockets: Sequence[socket.socket]) -> TlsServer:
    return TlsServer(make, tls, sockets, handshake_seconds=config.handshake_timeout, shutdown_seconds=CLOSE_SECONDS)
