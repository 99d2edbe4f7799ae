"""The same session with each of three client libraries of other projects, in JSON and in msgpack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgpack
import orjson
import pytest
import websocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.serving import PATIENCE_SECONDS, Serve

LARGE = b'"' + b"x" * 3_000_000 + b'"'


@dataclass
class Client:
    """The parts of a library that the tests use. `receive` is a message, or a close code once the server has closed."""

    send: Callable[[bytes], Awaitable[Any]]
    receive: Callable[[], Awaitable[bytes | int | None]]
    subprotocol: str | None


@asynccontextmanager
async def with_websockets(url: str, subprotocol: str) -> AsyncIterator[Client]:
    is_text = subprotocol == "fastws.json"
    async with connect(url, subprotocols=[subprotocol], proxy=None, max_size=None) as socket:  # type: ignore[list-item]

        async def send(data: bytes) -> None:
            await socket.send(data.decode() if is_text else data)

        async def receive() -> bytes | int | None:
            try:
                data = await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
            except ConnectionClosed:
                return socket.close_code
            return data.encode() if isinstance(data, str) else data

        yield Client(send, receive, socket.subprotocol)


@asynccontextmanager
async def with_aiohttp(url: str, subprotocol: str) -> AsyncIterator[Client]:
    is_text = subprotocol == "fastws.json"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, protocols=[subprotocol], max_msg_size=0) as socket:

        async def send(data: bytes) -> None:
            await (socket.send_str(data.decode()) if is_text else socket.send_bytes(data))

        async def receive() -> bytes | int | None:
            message = await socket.receive(PATIENCE_SECONDS)
            if message.type is aiohttp.WSMsgType.TEXT:
                return str(message.data).encode()
            return bytes(message.data) if message.type is aiohttp.WSMsgType.BINARY else socket.close_code

        yield Client(send, receive, socket.protocol)


@asynccontextmanager
async def with_websocket_client(url: str, subprotocol: str) -> AsyncIterator[Client]:
    is_text = subprotocol == "fastws.json"
    socket = await asyncio.to_thread(
        websocket.create_connection, url, subprotocols=[subprotocol], timeout=PATIENCE_SECONDS
    )

    async def send(data: bytes) -> None:
        await asyncio.to_thread(socket.send if is_text else socket.send_binary, data)

    async def receive() -> bytes | int | None:
        opcode, data = await asyncio.to_thread(socket.recv_data)
        return int.from_bytes(data[:2], "big") if opcode == websocket.ABNF.OPCODE_CLOSE else bytes(data)

    try:
        yield Client(send, receive, socket.subprotocol)
    finally:
        socket.shutdown()


Open = Callable[[str, str], AbstractAsyncContextManager[Client]]
LIBRARIES: dict[str, Open] = {
    "websockets": with_websockets,
    "aiohttp": with_aiohttp,
    "websocket-client": with_websocket_client,
}
CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[Any], Any]]] = {
    "fastws.json": (orjson.dumps, orjson.loads),
    "fastws.msgpack": (msgpack.packb, msgpack.unpackb),
}


@pytest.mark.parametrize("subprotocol", CODECS)
@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_session_and_its_end(serve: Serve, library: str, subprotocol: str) -> None:
    server = await serve(compression="on")
    dumps, loads = CODECS[subprotocol]
    async with LIBRARIES[library](f"ws://127.0.0.1:{server.port}/", subprotocol) as client:
        assert client.subprotocol == subprotocol
        connection_id = loads(await client.receive())["connection_id"]
        await client.send(dumps({"action": "subscribe", "channel": "a"}))
        assert loads(await client.receive())["type"] == "subscription_succeeded"
        data = {"short": "ü", "long": "z" * 100_000}
        await client.send(dumps({"action": "send", "channel": "a", "event": "e", "data": data}))
        heard = loads(await client.receive())
        assert heard == {"channel": "a", "event": "e", "data": data, "from": connection_id}
        assert loads(await client.receive())["sent"] == 1
        await client.send(dumps({"action": "nonsense"}))
        assert loads(await client.receive())["code"] == "bad_request"
        for connection in list(server.roster):
            connection.end(1012, "restart", label="test")
        assert await client.receive() == 1012


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_client_that_sends_too_much_gets_the_reason_of_its_close(serve: Serve, library: str) -> None:
    server = await serve()
    async with LIBRARIES[library](f"ws://127.0.0.1:{server.port}/", "fastws.json") as client:
        await client.receive()
        sending = asyncio.create_task(client.send(LARGE))
        if library != "websocket-client":  # which reads only when it has sent
            assert await client.receive() == 1009
        await asyncio.gather(sending, return_exceptions=True)
        if library == "websocket-client":
            assert await client.receive() == 1009
