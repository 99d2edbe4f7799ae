"""How connections end, which side is the cause, and which close code and reason the client gets."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time

import pytest
import structlog
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from tests.serving import PATIENCE_SECONDS, Join, OpenRaw, RawSocket, Serve

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def greeted(raw: RawSocket) -> RawSocket:
    opcode, payload = await raw.receive()
    assert opcode in (TEXT, BINARY)
    assert b"connection_id" in payload
    return raw


def unmasked(opcode: int, payload: bytes) -> bytes:
    return Frame(Opcode(opcode), payload).serialize(mask=False)


VIOLATIONS = {
    "unmasked": unmasked(TEXT, b"{}"),
    "reserved bit": bytes((0xC1, 0x80, 0, 0, 0, 0)),
    "reserved opcode": bytes((0x83, 0x80, 0, 0, 0, 0)),
    "fragmented ping": bytes((0x09, 0x80, 0, 0, 0, 0)),
    "long ping": bytes((0x89, 0xFE, 0, 126, 0, 0, 0, 0)) + bytes(126),
    "stray continuation": bytes((0x80, 0x80, 0, 0, 0, 0)),
    "interrupted message": bytes((0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0)),
    "close of one byte": bytes((0x88, 0x81, 0, 0, 0, 0, 3)),
    "close with 1005": bytes((0x88, 0x82, 0, 0, 0, 0)) + (1005).to_bytes(2, "big"),
    "length of 2^63": bytes((0x82, 0xFF)) + (2**63).to_bytes(8, "big") + bytes(4),
}


@pytest.mark.parametrize("data", VIOLATIONS.values(), ids=VIOLATIONS)
async def test_protocol_violations_are_closed_with_1002(serve: Serve, open_raw: OpenRaw, data: bytes) -> None:
    server = await serve()
    raw = await greeted(await open_raw(server))
    await raw.send_bytes(data)
    code, reason = await raw.receive_close()
    assert code == 1002
    assert reason
    assert len(server.roster) == 0


@pytest.mark.parametrize("payload", [b"\xff", b'{"a":"\xed\xa0\x80"}', b"\xc3"])
async def test_text_that_is_not_utf8_is_closed_with_1007(serve: Serve, open_raw: OpenRaw, payload: bytes) -> None:
    server = await serve()
    raw = await greeted(await open_raw(server))
    await raw.send(TEXT, payload)
    assert (await raw.receive_close())[0] == 1007


async def test_a_text_frame_on_a_msgpack_connection_is_closed_with_1003(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, format="msgpack")
    await client.socket.send('{"action":"ping"}')
    code, reason = await client.end()
    assert code == 1003
    assert reason == "this connection uses msgpack: send binary frames"


async def test_a_message_over_the_limit_is_closed_with_1009_at_its_header(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(max_message_bytes=1000)
    raw = await greeted(await open_raw(server))
    await raw.send_bytes(bytes((0x81, 0xFE)) + (1001).to_bytes(2, "big"))
    assert await raw.receive_close() == (1009, "message too large")


async def test_a_message_of_exactly_the_limit_is_taken(serve: Serve, join: Join) -> None:
    server = await serve(max_message_bytes=1000)
    client = await join(server)
    await client.socket.send('{"action":"ping"}'.ljust(1000))
    assert (await client.hear())["type"] == "pong"


async def test_fragments_that_sum_up_to_more_than_the_limit_are_closed_with_1009(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(max_message_bytes=1000)
    raw = await greeted(await open_raw(server))
    await raw.send(TEXT, b" " * 600, fin=False)
    await raw.send(0, b" " * 401)
    assert (await raw.receive_close())[0] == 1009


async def test_fragments_without_end_are_closed_with_1008_empty_ones_too(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(max_fragments=8)
    raw = await greeted(await open_raw(server))
    await raw.send(TEXT, b"", fin=False)
    for _ in range(8):
        await raw.send(0, b"", fin=False)
    assert (await raw.receive_close())[0] == 1008


@pytest.mark.parametrize("size", [2**21, 2**24])
async def test_a_client_that_is_still_sending_gets_the_close_code(serve: Serve, size: int) -> None:
    server = await serve()
    async with connect(f"ws://127.0.0.1:{server.port}/", compression=None, proxy=None) as client:
        await client.recv()
        sending = asyncio.create_task(client.send(" " * size))
        await asyncio.wait_for(client.wait_closed(), PATIENCE_SECONDS)
        await asyncio.gather(sending, return_exceptions=True)
        assert (client.close_code, client.close_reason) == (1009, "message too large")


@pytest.mark.parametrize(
    ("payload", "code"), [(b"\x03\xe8", 1000), (b"\x03\xe9bye", 1001), (b"\x0f\xa0", 4000), (b"", 1000)]
)
async def test_a_close_is_answered_in_kind_and_nothing_after_it_is_processed(
    serve: Serve, open_raw: OpenRaw, payload: bytes, code: int
) -> None:
    server = await serve()
    raw = await greeted(await open_raw(server))
    close = Frame(Opcode.CLOSE, payload).serialize(mask=True)
    late = Frame(Opcode.TEXT, b'{"action":"ping"}').serialize(mask=True)
    await raw.send_bytes(close + late)
    assert await raw.receive() == (CLOSE, code.to_bytes(2, "big"))
    assert await raw.receive_end() == b""
    assert server.counters.received["channels"] <= 1


async def test_a_ping_is_answered_with_its_payload_between_fragments_too(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await greeted(await open_raw(server))
    await raw.send(PING, b"one")
    assert await raw.receive() == (PONG, b"one")
    await raw.send(TEXT, b'{"action":', fin=False)
    await raw.send(PING, b"two")
    assert await raw.receive() == (PONG, b"two")
    await raw.send(PONG, b"nobody asked")
    await raw.send(0, b'"ping"}')
    assert json.loads((await raw.receive())[1])["type"] == "pong"


async def test_messages_in_single_bytes_or_with_the_handshake_are_read(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await greeted(await open_raw(server))
    for byte in Frame(Opcode.TEXT, b'{"action":"ping"}').serialize(mask=True):
        await raw.send_bytes(bytes((byte,)))
    assert json.loads((await raw.receive())[1])["type"] == "pong"


async def test_two_thousand_messages_in_one_write_are_answered_in_order(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await greeted(await open_raw(server))
    frames = [Frame(Opcode.TEXT, b'{"action":"ping","id":%d}' % n).serialize(mask=True) for n in range(2000)]
    await raw.send_bytes(b"".join(frames))
    for number in range(2000):
        assert json.loads((await raw.receive())[1])["id"] == number


async def test_a_silent_client_is_pinged_and_then_closed_with_1001(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(ping_interval=0.25, idle_timeout=0.5)
    raw = await greeted(await open_raw(server))
    assert await raw.receive() == (PING, b"")
    code, reason = await raw.receive_close()
    assert (code, reason) == (1001, "idle")
    assert server.counters.closed == {(1001, "idle"): 1}


async def test_a_client_that_answers_pings_stays(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(ping_interval=0.25, idle_timeout=0.5)
    raw = await greeted(await open_raw(server))
    for _ in range(5):
        assert await raw.receive() == (PING, b"")
        await raw.send(PONG, b"")
    assert len(server.roster) == 1


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_a_handshake_has_until_its_timeout_counted_from_the_accept(
    serve: Serve, open_raw: OpenRaw, beginning: bytes
) -> None:
    server = await serve(handshake_timeout=0.3)
    raw = await open_raw(server, None)
    begun = time.monotonic()
    await raw.send_bytes(beginning)
    assert await raw.receive_end() == b""
    assert time.monotonic() - begun > 0.25


async def test_the_handshake_timeout_leaves_upgraded_clients_alone(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(handshake_timeout=0.1, ping_interval=0)
    raw = await greeted(await open_raw(server))
    late = await open_raw(server, None)
    await late.receive_end()
    await raw.send(PING, b"")
    assert await raw.receive() == (PONG, b"")


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_vanishes_without_a_close_leaves_nothing_behind(
    serve: Serve, join: Join, open_raw: OpenRaw, how: str
) -> None:
    server = await serve()
    raw, other = await greeted(await open_raw(server)), await join(server)
    await raw.send(TEXT, b'{"action":"subscribe","channel":"a"}')
    await raw.receive()
    if how == "fin":
        raw.writer.close()
    else:
        linger = struct.pack("ii", 1, 0)
        raw.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raw.writer.transport.abort()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.gate.open_connections > 1:
            await asyncio.sleep(0)
    assert (await other.ask({"action": "send", "channel": "a", "event": "e"}))["sent"] == 0
    assert server.hub.channels == {}
    assert server.counters.closed == {(1006, "lost"): 1}


class BrokenForm:
    def frame(self, publication: object) -> bytes:
        raise RuntimeError("a bug in a wire form")


async def test_an_internal_error_in_one_channel_closes_no_client_and_other_channels_work(
    serve: Serve, join: Join
) -> None:
    server = await serve()
    client, sender = await join(server), await join(server)
    for channel in ("a", "b"):
        await client.ask({"action": "subscribe", "channel": channel})
    [audience] = server.hub.channels["a"].audiences.values()
    form, audience.form = audience.form, BrokenForm()
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            refused = await sender.ask({"action": "send", "channel": "a", "event": "e"})
            assert (refused["type"], refused["code"], refused["channel"]) == ("error", "internal", "a")
            assert "bug" not in refused["message"]
    assert [line["event"] for line in lines] == ["internal error while writing a channel"] * 2
    assert (await sender.ask({"action": "send", "channel": "b", "event": "e"}))["sent"] == 1
    assert (await client.hear())["channel"] == "b"
    audience.form = form


async def test_an_internal_error_during_a_close_still_ends_the_connection(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    server.hub.channels["a"].audiences.clear()
    with structlog.testing.capture_logs() as lines:
        await client.socket.close()
    assert "internal error" in [line["event"] for line in lines]
    assert not list(server.roster)


async def test_an_internal_error_closes_only_that_client_with_1011(serve: Serve, join: Join) -> None:
    server = await serve()
    client, other = await join(server), await join(server)
    session = server.roster.clients[client.id].session  # type: ignore[attr-defined] # our own roster holds Connections
    session.services = None
    with structlog.testing.capture_logs() as lines:
        await client.say({"action": "ping"})
        assert await client.end() == (1011, "internal error")
    assert (await other.ask({"action": "ping"}))["type"] == "pong"
    [line] = [line for line in lines if line["event"] == "internal error"]
    assert line["connection"] == client.id
    assert line["exc_info"]


async def test_codes_that_clients_choose_make_no_series_each(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    for code in (1000, 3000, 3999, 4000, 4321, 4999):
        raw = await greeted(await open_raw(server))
        await raw.send(CLOSE, struct.pack("!H", code))
        assert (await raw.receive_close())[0] == code
    assert server.counters.closed == {(1000, "client"): 1, (3000, "client"): 2, (4000, "client"): 3}
