"""Opening a connection to Redis: socket, TLS, password, database and name, all before the caller sees it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any, Final, NamedTuple, cast

import hiredis

from fastws.brokers.redis.wire.address import RedisAddress
from fastws.brokers.redis.wire.resp import pack
from fastws.resolver import Found, resolve

LOOKUP_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 3.0
RESP_3: Final = 3
# What an ACL may refuse.
_OPTIONAL: Final = (b"CLIENT", b"ROLE", b"INFO")
_ROLE: Final = (b"ROLE",)
_INFO: Final = (b"INFO", b"replication")
_CLIENT_ID: Final = (b"CLIENT", b"ID")


class Refused(Exception):
    """Redis did not let us in; `str()` is its own error (WRONGPASS, NOAUTH, LOADING, …), or that it is a replica."""


class Dialled(NamedTuple):
    """An open connection. `client_id` is Redis's number for it, None where Redis would not say."""

    transport: asyncio.Transport
    client_id: int | None


async def dial(address: RedisAddress, name: str) -> Dialled:
    """Connect to `address` and introduce ourselves as `name`; the caller then sets its own protocol.

    Raises OSError (also where its name is not found within LOOKUP_SECONDS), TimeoutError (after CONNECT_SECONDS) or
    Refused; nothing stays open then.
    """
    loop = asyncio.get_running_loop()
    handshake = _Handshake(handshake_commands(address, name), loop.create_future())
    try:
        found = [] if address.path is not None else await _found(address.host, address.port)
        async with asyncio.timeout(CONNECT_SECONDS):
            if address.path is not None:
                await loop.create_unix_connection(lambda: handshake, address.path)
            else:
                plain = await _connected(address.host, found)
                name_in_certificate = None if address.tls is None else address.host
                await loop.create_connection(
                    lambda: handshake, sock=plain, ssl=address.tls, server_hostname=name_in_certificate
                )
            return Dialled(cast(asyncio.Transport, handshake.transport), await handshake.outcome)
    except BaseException:
        handshake.abandon()
        raise


async def _found(host: str, port: int) -> list[Found]:
    """The addresses of `host`. Raises OSError, also where the name server takes more than LOOKUP_SECONDS."""
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            return await resolve(host, port)
    except TimeoutError:
        raise OSError(f"the name server does not answer for {host}") from None


async def _connected(host: str, found: list[Found]) -> socket.socket:
    """A socket connected to the first of the addresses `found` that takes it. Raises OSError."""
    failure = OSError(f"{host} has no address")
    for one in found:
        plain = socket.socket(one.family, one.type, one.proto)
        try:
            await _connect(plain, one.address)
        except OSError as error:
            plain.close()
            failure = error
        except BaseException:
            plain.close()
            raise
        else:
            return plain
    raise failure


async def _connect(plain: socket.socket, address: tuple[Any, ...]) -> None:
    """Not `loop.sock_connect`: of a link-local address uvloop's loses the scope."""
    loop = asyncio.get_running_loop()
    plain.setblocking(False)  # noqa: FBT003 its only form
    number = plain.connect_ex(address)
    if number == errno.EINPROGRESS:
        writable = asyncio.Event()
        loop.add_writer(plain, writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(plain)
        number = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def handshake_commands(address: RedisAddress, name: str) -> list[tuple[bytes, ...]]:
    """What is sent at once before anything else. An ACL may refuse CLIENT and ROLE; INFO is then asked for."""
    password = None if address.password is None else address.password.encode()
    username = None if address.username is None else address.username.encode()
    commands: list[tuple[bytes, ...]] = []
    if address.protocol == RESP_3:
        login = () if password is None else (b"AUTH", username or b"default", password)
        commands.append((b"HELLO", b"3", *login))
    elif password is not None:
        # A Redis before 6 knows passwords only, so a user is named just where there is one.
        commands.append((b"AUTH", password) if username is None else (b"AUTH", username, password))
    if address.database:
        commands.append((b"SELECT", str(address.database).encode()))
    return [*commands, (b"PING",), (b"CLIENT", b"SETNAME", name.encode()), _ROLE, _CLIENT_ID]


def primary_of(reply: object) -> str | None:
    """The address of the primary, if `reply` to ROLE or INFO is that of a replica."""
    if isinstance(reply, list) and len(reply) > 2 and reply[0] == b"slave" and isinstance(reply[1], bytes):
        return f"{reply[1].decode(errors='replace')}:{reply[2]}"
    if isinstance(reply, bytes) and b"role:slave" in reply:
        fields = dict(line.partition(b":")[::2] for line in reply.split(b"\r\n"))
        return b":".join((fields.get(b"master_host", b"?"), fields.get(b"master_port", b"?"))).decode(errors="replace")
    return None


class _Handshake(asyncio.Protocol):
    """Sends the handshake and waits for as many replies; `outcome` is then the client id."""

    def __init__(self, commands: list[tuple[bytes, ...]], outcome: asyncio.Future[int | None]) -> None:
        self.outcome = outcome
        # uvloop's transports are no subclass of asyncio's, hence BaseTransport here and a cast in dial().
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
            self._fail(Refused("what answers there is no Redis"))
            return
        if len(self._replies) >= len(self._commands) and not self._asks_by_info():
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("closed before it let us in"))

    def abandon(self) -> None:
        """Leave nothing open and no exception unseen."""
        self.outcome.cancel()
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()

    def _asks_by_info(self) -> bool:
        """Where ROLE is refused, one more question; whether its answer is now awaited."""
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
            if primary is not None:
                self._fail(Refused(f"it is a replica of {primary}"))
                return
        client_id = self._replies[self._commands.index(_CLIENT_ID)]
        if not self.outcome.done():
            self.outcome.set_result(client_id if isinstance(client_id, int) else None)

    def _fail(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
