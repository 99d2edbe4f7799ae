"""Opening: the first bytes that a client gets, and what connections share."""

from __future__ import annotations

import asyncio

import pytest

from fastws.server.server import Server
from fastws.transport.opening import MAX_USER_AGENT_LENGTH, Opening
from fastws.transport.websocket import Connection
from tests.serving import Serve
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


async def test_connections_share_a_wire_form_if_dialect_codec_and_window_are_the_same(serve: Serve) -> None:
    server = await serve(compression="on", compression_level=3, compression_min_bytes=10)
    plain, again = open_with(server)[1], open_with(server)[1]
    packed = open_with(server, "/?format=msgpack")[1]
    deflated, small = (
        open_with(server, "/", OFFER)[1],
        open_with(server, "/", f"{OFFER}; server_max_window_bits=9")[1],
    )
    forms = [connection.session.form for connection in (plain, packed, deflated, small)]
    assert again.session.form is plain.session.form
    assert len(set(map(id, forms))) == 4
    assert [form.compression is None for form in forms] == [True, True, False, False]


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
