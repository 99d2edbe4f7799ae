"""Opens a connection to Redis: socket, TLS, login, database and name, before the caller gets it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any, Final, NamedTuple, cast

import hiredis

from fastws.brokers.redis.wire.resp import pack
from fastws.redis_address import RedisAddress
from fastws.resolver import Found, resolve

LOOKUP_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 3.0
RESP_3: Final = 3
IS_CLUSTER: Final = "it is a node of a Redis Cluster: redis_url must begin with redis+cluster:// or rediss+cluster://"
# Commands that an ACL may refuse without harm.
_OPTIONAL: Final = (b"CLIENT", b"ROLE", b"INFO")
_ROLE: Final = (b"ROLE",)
_INFO: Final = (b"INFO", b"replication")
_CLIENT_ID: Final = (b"CLIENT", b"ID")
_CLUSTER: Final = (b"INFO", b"cluster")


class Refused(Exception):
    """Redis refused the connection, is a replica, or a node of a Redis Cluster that was not named as one.

    `str()` is the reason: the error of Redis (WRONGPASS, LOADING, …), the address of the primary, or what to change.
    """


class Dialled(NamedTuple):
    """An open connection. `client_id` is the number that Redis gave it, None if the ACL forbids CLIENT ID."""

    transport: asyncio.Transport
    client_id: int | None


async def dial(address: RedisAddress, name: str, *, accepts_replica: bool = False) -> Dialled:
    """Connect to `address` as the client `name`. The caller then sets its own protocol on the transport.

    Raises OSError (also if the host name is not resolved within LOOKUP_SECONDS), TimeoutError (after CONNECT_SECONDS)
    or Refused; a replica is refused unless `accepts_replica`. Nothing stays open after an error.
    """
    loop = asyncio.get_running_loop()
    handshake = _Handshake(handshake_commands(address, name), loop.create_future(), accepts_replica=accepts_replica)
    try:
        found = [] if address.path is not None else await _found(address.host, address.port)
        async with asyncio.timeout(CONNECT_SECONDS):
            if address.path is not None:
                await loop.create_unix_connection(lambda: handshake, address.path)
            else:
                sock = await _connected(address.host, found)
                name_in_certificate = None if address.tls is None else address.host
                await loop.create_connection(
                    lambda: handshake, sock=sock, ssl=address.tls, server_hostname=name_in_certificate
                )
            return Dialled(cast(asyncio.Transport, handshake.transport), await handshake.outcome)
    except BaseException:
        handshake.abandon()
        raise


async def _found(host: str, port: int) -> list[Found]:
    """Return the addresses of `host`. Raises OSError, also if the name server takes longer than LOOKUP_SECONDS."""
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            return await resolve(host, port)
    except TimeoutError:
        raise OSError(f"the name server does not answer for {host}") from None


async def _connected(host: str, found: list[Found]) -> socket.socket:
    """Return a socket connected to the first address that accepts. Raises OSError: the error of the last address."""
    failure = OSError(f"{host} has no address")
    for one in found:
        sock = socket.socket(one.family, one.type, one.proto)
        try:
            await _connect(sock, one.address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def _connect(sock: socket.socket, address: tuple[Any, ...]) -> None:
    """Connect `sock`. uvloop's `loop.sock_connect` is not used: it loses the scope of a link-local address."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)  # noqa: FBT003 its only form
    number = sock.connect_ex(address)
    if number == errno.EINPROGRESS:
        writable = asyncio.Event()
        loop.add_writer(sock, writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def handshake_commands(address: RedisAddress, name: str) -> list[tuple[bytes, ...]]:
    """The commands that open a connection, sent in one write. An ACL may refuse CLIENT and ROLE; INFO replaces ROLE."""
    password = None if address.password is None else address.password.encode()
    username = None if address.username is None else address.username.encode()
    commands: list[tuple[bytes, ...]] = []
    if address.protocol == RESP_3:
        login = () if password is None else (b"AUTH", username or b"default", password)
        commands.append((b"HELLO", b"3", *login))
    elif password is not None:
        # Redis before version 6 knows no users, so the user is sent only if one is set.
        commands.append((b"AUTH", password) if username is None else (b"AUTH", username, password))
    if address.database:
        commands.append((b"SELECT", str(address.database).encode()))
    is_cluster = () if address.is_cluster_node else (_CLUSTER,)
    return [*commands, (b"PING",), (b"CLIENT", b"SETNAME", name.encode()), _ROLE, _CLIENT_ID, *is_cluster]


def primary_of(reply: object) -> str | None:
    """Return host:port of the primary if `reply`, to ROLE or INFO, came from a replica; else None."""
    if isinstance(reply, list) and len(reply) > 2 and reply[0] == b"slave" and isinstance(reply[1], bytes):
        return f"{reply[1].decode(errors='replace')}:{reply[2]}"
    if isinstance(reply, bytes) and b"role:slave" in reply:
        fields = dict(line.partition(b":")[::2] for line in reply.split(b"\r\n"))
        return b":".join((fields.get(b"master_host", b"?"), fields.get(b"master_port", b"?"))).decode(errors="replace")
    return None


class _Handshake(asyncio.Protocol):
    """Sends the handshake commands and reads their replies. The result of `outcome` is the client id."""

    def __init__(
        self, commands: list[tuple[bytes, ...]], outcome: asyncio.Future[int | None], *, accepts_replica: bool
    ) -> None:
        self.outcome = outcome
        self._accepts_replica = accepts_replica
        # uvloop's transports do not inherit from asyncio.Transport: hence BaseTransport here and a cast in dial().
        self.transport: asyncio.BaseTransport | None = None
        self._commands = commands
        self._replies: list[object] = []
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        commands = b"".join(pack(*command) for command in self._commands)
        cast(asyncio.Transport, transport).write(commands)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._replies.append(reply)
        except hiredis.ProtocolError:
            self._fail(Refused("the server at this address is not Redis"))
            return
        if len(self._replies) >= len(self._commands) and not self._sends_info():
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("closed during the handshake"))

    def abandon(self) -> None:
        """Close the connection and cancel `outcome`, so that asyncio reports no unretrieved exception."""
        self.outcome.cancel()
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()

    def _sends_info(self) -> bool:
        """Send INFO if ROLE was refused. Return whether its reply is now awaited."""
        refused = isinstance(self._replies[self._commands.index(_ROLE)], hiredis.ReplyError)
        if not refused or _INFO in self._commands:
            return False
        self._commands.append(_INFO)
        cast(asyncio.Transport, self.transport).write(pack(*_INFO))
        return True

    def _finish(self) -> None:
        for command, reply in zip(self._commands, self._replies, strict=False):
            if isinstance(reply, hiredis.ReplyError) and command[0] not in _OPTIONAL:
                self._fail(Refused(str(reply)))
                return
            primary = primary_of(reply) if command in (_ROLE, _INFO) else None
            if primary is not None and not self._accepts_replica:
                self._fail(Refused(f"it is a replica of {primary}"))
                return
            if command == _CLUSTER and isinstance(reply, bytes) and b"cluster_enabled:1" in reply:
                self._fail(Refused(IS_CLUSTER))
                return
        client_id = self._replies[self._commands.index(_CLIENT_ID)]
        if not self.outcome.done():
            self.outcome.set_result(client_id if isinstance(client_id, int) else None)

    def _fail(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
