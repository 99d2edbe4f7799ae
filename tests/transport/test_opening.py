"""Opening: the first bytes that a client gets, and what connections share."""

from __future__ import annotations

import asyncio

import pytest

from fastws.server.server import Server
from fastws.transport import opening as opening_module
from fastws.transport.opening import MAX_SHARED_STRINGS, MAX_USER_AGENT_LENGTH, Opening
from fastws.transport.websocket import Connection
from tests.serving import PATIENCE_SECONDS, Join, OpenRaw, Serve
from tests.transport.pipes import Pipe, connect, frames, say


class StrictPipe(Pipe):
    """A transport that notes the protocol for which the write limits were set."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[tuple[bool, int | None, int | None]] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits.append((isinstance(self.protocol, Connection), high, low))


async def test_the_response_and_the_greeting_are_one_write(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    [written] = pipe.writes
    assert written.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert written.endswith(b'{"type":"connection_id","connection_id":"%s"}' % connection.id.encode())


@pytest.mark.parametrize(("is_tls", "high"), [(False, 0), (True, 1)])
async def test_the_connection_takes_over_the_transport_before_its_limits_change(
    serve: Serve, is_tls: bool, high: int
) -> None:
    server = await serve()
    opening = Opening(server.services, server.assembly.transport_services, server.config, is_tls=is_tls)
    pipe = StrictPipe()
    pipe.protocol = http = server.assembly.client_protocol()
    http.opening = opening
    http.connection_made(pipe)
    http.data_received(request())
    assert pipe.limits == [(True, high, 0)]


def request(target: str = "/", *lines: str) -> bytes:
    head = (f"GET {target} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade")
    rest = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", *lines)
    return "\r\n".join((*head, *rest, "", "")).encode()


def open_with(server: Server, target: str = "/", *lines: str) -> tuple[Pipe, Connection]:
    pipe = Pipe()
    pipe.protocol = http = server.assembly.client_protocol()
    http.connection_made(pipe)
    http.data_received(request(target, *lines))
    assert isinstance(pipe.protocol, Connection)
    return pipe, pipe.protocol


OFFER = "Sec-WebSocket-Extensions: permessage-deflate"


async def test_connections_share_a_wire_form_if_dialect_codec_and_compression_are_the_same(serve: Serve) -> None:
    server = await serve(compression="on", compression_level=3, compression_min_bytes=10)
    plain, again = open_with(server)[1], open_with(server)[1]
    packed = open_with(server, "/?format=msgpack")[1]
    deflated = open_with(server, "/", OFFER)[1]
    forms = [connection.session.form for connection in (plain, packed, deflated)]
    assert again.session.form is plain.session.form
    assert len(set(map(id, forms))) == 3
    assert [form.compression is None for form in forms] == [True, True, False]
    for bits, form in ((9, plain), (12, deflated), (15, deflated)):
        narrow = open_with(server, "/", f"{OFFER}; server_max_window_bits={bits}")[1]
        assert narrow.session.form is form.session.form


async def test_an_offer_is_declined_unless_compression_is_on(serve: Serve) -> None:
    pipe, connection = open_with(await serve(), "/", OFFER)
    assert connection.deflate is None
    assert b"Sec-WebSocket-Extensions" not in pipe.writes[0]
    pipe, connection = open_with(await serve(compression="on"), "/", OFFER)
    assert connection.deflate is not None
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in pipe.writes[0]


async def test_the_subprotocol_and_the_client_are_known(serve: Serve) -> None:
    server = await serve()
    pipe, connection = open_with(server, "/", "Sec-WebSocket-Protocol: fastws.msgpack", f"User-Agent: {'x' * 300}")
    assert b"\r\nSec-WebSocket-Protocol: fastws.msgpack\r\n" in pipe.writes[0]
    assert connection.codec_name == "msgpack"
    assert connection.user_agent == "x" * MAX_USER_AGENT_LENGTH
    # Thousands of clients have the same: they share one string.
    assert open_with(server, "/", f"User-Agent: {'x' * 300}")[1].user_agent is connection.user_agent
    assert connection.address == "127.0.0.1"


async def test_frames_behind_the_request_are_read_after_the_greeting(serve: Serve) -> None:
    server = await serve()
    pipe = Pipe()
    pipe.protocol = http = server.assembly.client_protocol()
    http.connection_made(pipe)
    http.data_received(request() + frames({"action": "ping"}))
    assert [message["type"] for message in pipe.all_messages] == ["connection_id", "pong"]
    assert server.gate.capacity.sockets == 0
    say(pipe.protocol, {"action": "ping"})
    await asyncio.sleep(0)
    assert len(pipe.all_messages) == 3


async def test_shared_strings_are_bounded(serve: Serve) -> None:
    """Python 3.12.1 keeps interned strings forever, and clients choose their User-Agent."""
    server = await serve()
    for number in range(2 * MAX_SHARED_STRINGS):
        open_with(server, "/", f"User-Agent: {number}")
        assert len(server.assembly.opening._strings) <= MAX_SHARED_STRINGS + 2


async def test_an_opening_that_fails_is_answered_and_leaves_no_count(
    serve: Serve, open_raw: OpenRaw, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(max_connections_per_ip=1)

    def fail(session: object) -> None:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patched:
        patched.setattr(opening_module, "join_starting_channels", fail)
        raw = await open_raw(server, None)
        await raw.send_bytes(request())
        assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
    assert list(server.roster) == []
    assert server.gate.capacity.connections == 0
    assert server.counters.closed == {(1011, "internal"): 1}
    raw.writer.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.gate.capacity.sockets:
            await asyncio.sleep(0)
    await join(server)
