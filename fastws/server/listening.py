"""Listening: on the sockets that a supervisor has opened, at a Unix socket's path, or at an address of our own."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from fastws.config import Config
from fastws.errors import ConfigError
from fastws.server.tls import Tls
from fastws.server.unix_socket import BACKLOG, UnixServer, listen_at
from fastws.settings import host_and_port
from fastws.transport.websocket import CLOSE_SECONDS

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


class Listeners:
    """Everything that one server listens on. `port` is the TCP port of its clients, 0 where there is none."""

    def __init__(self) -> None:
        self.port = 0
        self._servers: list[asyncio.Server | UnixServer] = []
        self._inherited = 0

    async def open(
        self, make: MakeProtocol, config: Config, tls: Tls | None, inherited: Sequence[socket.socket] = ()
    ) -> None:
        """Listen for clients. Raises CannotListen."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"backlog": BACKLOG}
        if tls is not None:
            options["ssl"] = tls.context
            options["ssl_handshake_timeout"] = config.handshake_timeout
            options["ssl_shutdown_timeout"] = CLOSE_SECONDS
        if inherited:
            for listening in inherited:
                self._servers.append(await loop.create_server(make, sock=listening, **options))
            self._inherited = len(inherited)
            self.port = config.port
            return
        try:
            if config.unix_socket is not None:
                unix = await loop.create_unix_server(make, sock=listen_at(Path(config.unix_socket)), **options)
                self._servers.append(UnixServer(unix, config.unix_socket))
                return
            server = await loop.create_server(make, config.host, config.port, **options)
        except OSError as error:
            raise CannotListen(place_of(config), error) from None
        self.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)

    async def open_private(self, make: MakeProtocol, path: Path) -> None:
        """Listen for the other workers of this machine."""
        self._servers.append(await asyncio.get_running_loop().create_unix_server(make, str(path)))

    async def open_for_scrapes(self, make: MakeProtocol, address: str, *, is_shared: bool) -> None:
        """Listen at `metrics_address`. Workers share it: each shows the figures of all. Raises ConfigError."""
        host, port = host_and_port(address)
        try:
            server = await asyncio.get_running_loop().create_server(make, host, port, reuse_port=is_shared)
        except OSError as error:
            raise ConfigError(f"metrics_address: {CannotListen(address, error)}") from None
        self._servers.append(server)

    def leave_inherited(self) -> None:
        """Listen no more on the sockets that a supervisor has opened: a successor does."""
        for server in self._servers[: self._inherited]:
            server.close()

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()
        self._servers = []
