"""Servers and clients for the tests of several rooms: the real server in this process, a client nobody here wrote."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgpack
import orjson
import pytest
import pytest_asyncio
import uvloop
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.frames import Frame, Opcode

from fastws.config import Config
from fastws.server.server import Server
from fastws.settings import check

KEY = "the broadcast key of the tests"
SECRET = "a JWT secret of the tests, longer than 32 bytes"
# A bound that says only that something never comes: the machine may be busy with other things.
PATIENCE_SECONDS = 30.0

Message = dict[str, Any]
Serve = Callable[..., Awaitable[Server]]
Join = Callable[..., Awaitable["Talker"]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Any]:
    """For the conftest of rooms whose tests run on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers on free ports of loopback; `await serve(max_connections=1)`. All end with the test."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Server:
            # No pings unless a test asks for them: they would come between frames that it reads itself.
            given = {"port": 0, "ping_interval": 0.0, "broadcast_key": (KEY,), "jwt_secret": SECRET, **settings}
            config = Config(**given)
            check(config)
            return await stack.enter_async_context(Server(config))

        yield start


# Options of `join` that go into the query of the upgrade.
QUERY = (
    *("token", "workspace_id", "offset", "epoch", "replay", "event_types", "job_ids", "statuses"),
    *("client_id", "client_offset", "client_epoch", "client_replay"),
)


class Talker:
    """A client of the `websockets` package that speaks in messages."""

    def __init__(self, socket: ClientConnection, *, is_msgpack: bool) -> None:
        self.socket = socket
        self.is_msgpack = is_msgpack
        self.id = ""

    async def say(self, message: object) -> None:
        if self.is_msgpack:
            await self.socket.send(msgpack.packb(message))
        else:
            await self.socket.send(orjson.dumps(message).decode())

    async def hear(self) -> Message:
        """The next message."""
        data = await asyncio.wait_for(self.socket.recv(), PATIENCE_SECONDS)
        if self.is_msgpack:
            assert isinstance(data, bytes)
            message: Message = msgpack.unpackb(data, strict_map_key=False)
        else:
            assert isinstance(data, str)
            message = orjson.loads(data)
        return message

    async def ask(self, message: object) -> Message:
        """Say something, hear one message."""
        await self.say(message)
        return await self.hear()

    async def hears_nothing(self) -> None:
        """Whatever was on its way would come before the answer to a request made now."""
        answer = await self.ask({"action": "ping", "type": "ping"})
        assert "pong" in (answer.get("type"), answer.get("event")), answer

    async def end(self) -> tuple[int | None, str | None]:
        """Close code and reason, once the connection is over."""
        await asyncio.wait_for(self.socket.wait_closed(), PATIENCE_SECONDS)
        return self.socket.close_code, self.socket.close_reason


def _unix_socket(server: Server) -> str | None:
    """Where `server` listens if not on a port; one that runs as a process of its own is always on a port."""
    config = getattr(server, "config", None)
    return None if config is None else config.unix_socket


@pytest_asyncio.fixture
async def join() -> AsyncIterator[Join]:
    """Connects clients: `await join(server, "/ws", token=…, format="msgpack")`. What greets is heard already."""
    async with AsyncExitStack() as stack:

        async def enter(server: Server, path: str = "/", *, greets: bool = True, **options: Any) -> Talker:
            is_msgpack = options.pop("format", "json") == "msgpack"
            query = {name: options.pop(name) for name in QUERY if name in options}
            if is_msgpack:
                query["format"] = "msgpack"
            text = "&".join(f"{name}={value}" for name, value in query.items())
            address = f"ws://127.0.0.1:{server.port}{path}?{text}"
            options = {"compression": None, "open_timeout": PATIENCE_SECONDS, **options}
            unix = _unix_socket(server)
            if unix is None:
                opening = connect(address, proxy=None, **options)
            else:
                opening = unix_connect(unix, address, **options)
            socket = await stack.enter_async_context(opening)
            talker = Talker(socket, is_msgpack=is_msgpack)
            if greets:
                talker.id = (await talker.hear())["connection_id"]
            return talker

        yield enter


class RawSocket:
    """An upgraded connection of which the test reads and writes every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> None:
        data = Frame(Opcode(opcode), payload, fin).serialize(mask=True)
        await self.send_bytes(bytes((data[0] | (0x40 if rsv1 else 0),)) + data[1:])

    async def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, length = await self.reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(length)

    async def receive_close(self) -> tuple[int, str]:
        """The close that comes after whatever else comes, and then the end of the TCP connection."""
        opcode = 0
        while opcode != Opcode.CLOSE:
            opcode, payload = await self.receive()
        await self.receive_end()
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def receive_end(self) -> bytes:
        """All there is until the server closes the connection; nothing if it resets it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


OpenRaw = Callable[..., Awaitable[RawSocket]]
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest_asyncio.fixture
async def open_raw() -> AsyncIterator[OpenRaw]:
    """Opens raw connections: `await open_raw(server, "/")`; with path None nothing is sent yet.

    Over the server's Unix socket where it has one: what is not read there fills a buffer of a fixed size, and stays.
    TCP's grows when the kernel likes.
    """
    writers = []

    async def opened(server: Server, path: str | None = "/", *, limit: int = 2**16, buffer_bytes: int = 0) -> RawSocket:
        unix = _unix_socket(server)
        plain = socket.socket(socket.AF_INET if unix is None else socket.AF_UNIX)
        if buffer_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, unix or ("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=limit)
        writers.append(writer)
        if path is not None:
            writer.write(UPGRADE.format(path=path).encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
            assert head.startswith(b"HTTP/1.1 101 "), head
        return RawSocket(reader, writer)

    yield opened
    for writer in writers:
        writer.transport.abort()
