"""permessage-deflate end to end: compressed once for all clients of one wire form, plain where it saves nothing."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgpack
import orjson
import pytest
import pytest_asyncio
import websocket
from websockets.asyncio.client import ClientConnection, connect

from fastws.dialects import wire_form as wireform
from fastws.server.server import Server
from tests.serving import PATIENCE_SECONDS, UPGRADE, Join, OpenRaw, Serve

OFFER = "permessage-deflate; client_max_window_bits"
LONG = {"text": "the same words again and again, " * 50}
SUBSCRIBE = orjson.dumps({"action": "subscribe", "channel": "news"}).decode()
PACKED_SUBSCRIBE: bytes = msgpack.packb({"action": "subscribe", "channel": "news"})


@pytest.fixture
def deflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was compressed, in order."""
    sizes = []
    real = wireform.deflate

    def counting(payload: bytes, level: int) -> bytes:
        sizes.append(len(payload))
        return real(payload, level)

    monkeypatch.setattr(wireform, "deflate", counting)
    return sizes


class Crowd:
    """Clients of the `websockets` package on channel `news`, each with its own offer."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.clients: list[ClientConnection] = []

    async def grow(self, server: Server, count: int, offer: str | None = OFFER, path: str = "/") -> None:
        for _ in range(count):
            client = await self._stack.enter_async_context(
                connect(
                    f"ws://127.0.0.1:{server.port}{path}",
                    proxy=None,
                    compression="deflate" if offer == OFFER else None,
                )
            )
            await client.recv()
            await client.send(SUBSCRIBE)
            await client.recv()
            self.clients.append(client)

    async def hear(self) -> list[Any]:
        heard = await asyncio.gather(*(asyncio.wait_for(client.recv(), PATIENCE_SECONDS) for client in self.clients))
        return [orjson.loads(text) for text in heard]


@pytest_asyncio.fixture
async def crowd() -> AsyncIterator[Crowd]:
    async with AsyncExitStack() as stack:
        yield Crowd(stack)


async def test_a_hundred_subscribers_share_one_compression(serve: Serve, crowd: Crowd, deflated: list[int]) -> None:
    server = await serve(compression="on")
    await crowd.grow(server, 100)
    assert (await server.broadcaster.publish("news", "e", LONG))["sent"] == 100
    assert await crowd.hear() == [{"channel": "news", "event": "e", "data": LONG}] * 100
    assert len(deflated) == 1


async def test_each_wire_form_is_compressed_once_and_all_clients_get_the_same(
    serve: Serve, join: Join, crowd: Crowd, deflated: list[int]
) -> None:
    server = await serve(compression="on")
    await crowd.grow(server, 5)
    await crowd.grow(server, 5, None)
    await crowd.grow(server, 5, path="/production")
    packed = await join(server, format="msgpack")
    await packed.ask({"action": "subscribe", "channel": "news"})
    async with connect(f"ws://127.0.0.1:{server.port}/?format=msgpack", proxy=None) as squeezed:
        await squeezed.recv()
        await squeezed.send(PACKED_SUBSCRIBE)
        await squeezed.recv()
        await server.broadcaster.publish("news", "e", LONG)
        message = {"channel": "news", "event": "e", "data": LONG}
        assert await crowd.hear() == [message] * 15
        assert await packed.hear() == message
        heard = await squeezed.recv()
        assert isinstance(heard, bytes)
        assert msgpack.unpackb(heard) == message
    assert len(deflated) == 2


async def test_readers_with_filters_of_their_own_share_one_compression(serve: Serve, deflated: list[int]) -> None:
    server = await serve(compression="on")
    token = server.tokens.sign("u1", workspaces=["w1"])
    url = f"ws://127.0.0.1:{server.port}/ws?token={token}&workspace_id=w1"
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(10):
            client = await stack.enter_async_context(connect(url, proxy=None))
            await client.recv()
            await client.send(orjson.dumps({"type": "subscribe", "event_types": ["alert", f"e{number}"]}).decode())
            await client.recv()
            clients.append(client)
        await server.broadcaster.publish("workspace:w1", "alert", LONG)
        heard = {str(await asyncio.wait_for(client.recv(), PATIENCE_SECONDS)) for client in clients}
        assert [orjson.loads(text)["data"] for text in heard] == [LONG]
    assert len(deflated) == 1


async def raw_frames(
    server: Server,
    *messages: object,
    offer: str = OFFER,
    path: str = "/",
    subscribe: bytes = SUBSCRIBE.encode(),
) -> list[tuple[bool, bytes]]:
    """The frames that a subscriber with this offer gets for these messages: whether RSV1 is set, and the payload."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Extensions: {offer}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")

    async def frame() -> tuple[bool, bytes]:
        first, length = await reader.readexactly(2)
        if length > 125:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        return bool(first & 0x40), await reader.readexactly(length)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await frame()
        writer.write(b"\x82" + bytes([0x80 | len(subscribe)]) + b"\0\0\0\0" + subscribe)
        await frame()
        found = []
        for message in messages:
            await server.broadcaster.publish("news", "e", message)
            found.append(await frame())
    writer.close()
    return found


async def test_small_and_incompressible_messages_are_sent_plain(serve: Serve) -> None:
    server = await serve(compression="on", compression_min_bytes=300)
    noise = os.urandom(400)
    found = await raw_frames(server, "x" * 100, "x" * 400, noise, path="/?format=msgpack", subscribe=PACKED_SUBSCRIBE)
    assert [is_compressed for is_compressed, _ in found] == [False, True, False]
    inflated = zlib.decompressobj(-15).decompress(found[1][1] + b"\x00\x00\xff\xff")
    payloads = [found[0][1], inflated, found[2][1]]
    assert [msgpack.unpackb(payload)["data"] for payload in payloads] == ["x" * 100, "x" * 400, noise]


@pytest.mark.parametrize("bits", [9, 12, 15])
async def test_readers_of_all_windows_can_read_it_and_share_two_wire_forms(
    serve: Serve, deflated: list[int], bits: int
) -> None:
    server = await serve(compression="on")
    data = "".join(f"{number:05d}" for number in range(5000)) * 2
    ((is_compressed, payload),) = await raw_frames(
        server, data, offer=f"permessage-deflate; server_max_window_bits={bits}"
    )
    assert is_compressed == (bits >= 12)
    if is_compressed:
        payload = zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff")
    assert orjson.loads(payload)["data"] == data


async def test_a_client_may_turn_compression_off_in_its_url(serve: Serve) -> None:
    server = await serve(compression="on")
    for query, is_compressed in (("", True), ("?compression=off", False), ("?compression=on", True)):
        assert [found for found, _ in await raw_frames(server, LONG, path=f"/{query}")] == [is_compressed]


async def test_a_client_that_keeps_its_window_is_understood_as_long_as_it_is_connected(
    serve: Serve, open_raw: OpenRaw
) -> None:
    """As Tornado 6 and Safari 15 do, which ignore client_no_context_takeover in the response."""
    server = await serve(compression="on")
    raw = await open_raw(server, None)
    await raw.send_bytes(UPGRADE.format(path="/").encode()[:-2] + f"Sec-WebSocket-Extensions: {OFFER}\r\n\r\n".encode())
    await raw.reader.readuntil(b"\r\n\r\n")
    assert b"connection_id" in (await raw.receive())[1]
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    for number in range(50):
        text = orjson.dumps({"action": "ping", "id": number, "note": "the same words again and again"})
        message = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
        await raw.send(1, message[:-4], rsv1=True)
        assert orjson.loads((await raw.receive())[1])["id"] == number
    windows = server.assembly.transport_services.windows
    (client,) = server.roster
    assert b"the same words" in (windows.find(client.id) or b"")
    raw.writer.transport.abort()
    await server.gate.until_empty()
    assert windows.find(client.id) == b""


async def test_the_level_is_a_setting(serve: Serve) -> None:
    sizes = []
    for level in (1, 9):
        server = await serve(compression="on", compression_level=level)
        data = " ".join(f"word{number * number % 977}" for number in range(3000))
        ((_, payload),) = await raw_frames(server, data)
        sizes.append(len(payload))
    assert sizes[1] < sizes[0]


async def test_without_the_setting_no_offer_is_taken(serve: Serve) -> None:
    server = await serve()
    async with connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
    assert [is_compressed for is_compressed, _ in await raw_frames(server, LONG)] == [False]


async def test_aiohttp_and_websocket_client_get_the_same(serve: Serve, deflated: list[int]) -> None:
    """aiohttp compresses what it sends; websocket-client does not support deflate."""
    server = await serve(compression="on")
    url = f"ws://127.0.0.1:{server.port}/"
    plain = await asyncio.to_thread(websocket.create_connection, url, timeout=PATIENCE_SECONDS)
    async with aiohttp.ClientSession() as http, http.ws_connect(url, compress=15) as client:
        assert client.compress == 15
        await client.receive()
        await asyncio.to_thread(plain.recv)
        await asyncio.to_thread(plain.send, SUBSCRIBE)
        await asyncio.to_thread(plain.recv)
        await client.send_str(SUBSCRIBE)
        await client.receive()
        await client.send_json({"action": "send", "channel": "news", "event": "e", "data": LONG})
        heard = [orjson.loads((await client.receive(PATIENCE_SECONDS)).data), orjson.loads(plain.recv())]
        assert heard[0] == heard[1]
        assert heard[0]["data"] == LONG
    plain.shutdown()
    assert len(deflated) == 1


async def test_compressed_messages_of_a_client_are_read_in_both_codecs(serve: Serve) -> None:
    server = await serve(compression="on")
    async with connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as client:
        assert client.response is not None
        assert "no_context_takeover" in client.response.headers["Sec-WebSocket-Extensions"]
        await client.recv()
        await client.send(SUBSCRIBE)
        await client.recv()
        for number in range(3):
            await client.send(
                orjson.dumps({"action": "send", "channel": "news", "event": "e", "data": [LONG, number]}).decode()
            )
            assert orjson.loads(await client.recv())["data"] == [LONG, number]
            assert orjson.loads(await client.recv())["sent"] == 1


async def test_an_aws_post_is_compressed_too(serve: Serve, crowd: Crowd, deflated: list[int]) -> None:
    server = await serve(compression="on")
    await crowd.grow(server, 1)
    (client,) = server.roster
    assert client.deliver_raw(orjson.dumps(LONG))
    assert await crowd.hear() == [LONG]
    assert len(deflated) == 1
