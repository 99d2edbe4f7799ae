"""Opening a connection to Redis: socket, TLS, password, database and name, all before the caller sees it."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, cast

import hiredis

from fastws.brokers.redis.wire.address import RedisAddress
from fastws.brokers.redis.wire.resp import pack

CONNECT_SECONDS: Final = 3.0
RESP_3: Final = 3


class Refused(Exception):
    """Redis answered the handshake with an error; `str()` is its own text (WRONGPASS, NOAUTH, LOADING, …)."""


class Dialled(NamedTuple):
    """An open connection. `client_id` is Redis's number for it, None where Redis would not say."""

    transport: asyncio.Transport
    client_id: int | None


async def dial(address: RedisAddress, name: str) -> Dialled:
    """Connect to `address` and introduce ourselves as `name`; the caller then sets its own protocol.

    Raises OSError, TimeoutError (after CONNECT_SECONDS) or Refused; nothing stays open then.
    """
    loop = asyncio.get_running_loop()
    handshake = _Handshake(handshake_commands(address, name), loop.create_future())
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if address.path is not None:
                await loop.create_unix_connection(lambda: handshake, address.path)
            else:
                await loop.create_connection(lambda: handshake, address.host, address.port, ssl=address.tls)
            return Dialled(cast(asyncio.Transport, handshake.transport), await handshake.outcome)
    except BaseException:
        handshake.abandon()
        raise


def handshake_commands(address: RedisAddress, name: str) -> list[tuple[bytes, ...]]:
    """What is sent at once before anything else. An ACL may refuse those that begin with CLIENT."""
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
    return [*commands, (b"PING",), (b"CLIENT", b"SETNAME", name.encode()), (b"CLIENT", b"ID")]


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
        if len(self._replies) >= len(self._commands):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("closed before it let us in"))

    def abandon(self) -> None:
        """Leave nothing open and no exception unseen."""
        self.outcome.cancel()
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()

    def _finish(self) -> None:
        for command, reply in zip(self._commands, self._replies, strict=False):
            if isinstance(reply, hiredis.ReplyError) and command[0] != b"CLIENT":
                self._fail(Refused(str(reply)))
                return
        client_id = self._replies[-1]
        if not self.outcome.done():
            self.outcome.set_result(client_id if isinstance(client_id, int) else None)

    def _fail(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
