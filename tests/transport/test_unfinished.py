"""Messages of which only a part arrives: a deadline that pings do not move, and a bound on all together."""

from __future__ import annotations

import json

import pytest

from fastws.server.server import Server
from fastws.transport.unfinished import MAX_BYTES, MESSAGE_SECONDS, UnfinishedMessages
from fastws.transport.websocket import Connection
from fastws.wire.opcodes import CONTINUATION, PING, TEXT
from tests.hostile.raw_client import masked
from tests.serving import Serve
from tests.transport.pipes import Pipe, connect

MESSAGE = json.dumps({"action": "ping", "filler": "x" * 1000}).encode()
BEGIN = masked(TEXT, MESSAGE[:500], final=False)
MORE = masked(CONTINUATION, b"y" * 100, final=False)
END = masked(CONTINUATION, MESSAGE[500:])


class Clock:
    """The time of one server's heartbeat, moved by the test."""

    def __init__(self, server: Server) -> None:
        self._heartbeat = server.heartbeat
        self._heartbeat.stop()
        self.unfinished = server.heartbeat.unfinished

    def advance(self, seconds: float) -> None:
        self._heartbeat.now += seconds
        self.unfinished.close_overdue(self._heartbeat.now)


def codes(pipe: Pipe) -> list[int]:
    return [message["close"] for message in pipe.all_messages if "close" in message]


async def test_pings_and_further_fragments_do_not_move_the_deadline(serve: Serve) -> None:
    server = await serve()
    _, connection = connect(server)
    clock = Clock(server)
    connection.data_received(BEGIN)
    for _ in range(int(MESSAGE_SECONDS) - 1):
        clock.advance(1)
        connection.data_received(masked(PING) + MORE)
    assert server.counters.closed == {}
    clock.advance(1)
    assert server.counters.closed == {(1008, "protocol_error"): 1}
    assert connection.parser is None
    assert clock.unfinished._bytes == 0


async def test_each_message_has_its_own_minute(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server)
    clock = Clock(server)
    connection.data_received(BEGIN)
    for _ in range(5):
        clock.advance(MESSAGE_SECONDS - 1)
        connection.data_received(END + BEGIN)
    connection.data_received(END)
    clock.advance(MESSAGE_SECONDS * 2)
    assert codes(pipe) == []
    assert clock.unfinished._of == {}


async def test_a_frame_that_trickles_in_is_cut_off(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server)
    clock = Clock(server)
    frame = masked(TEXT, MESSAGE)
    for position in range(int(MESSAGE_SECONDS)):
        assert codes(pipe) == []
        connection.data_received(frame[position : position + 1])
        clock.advance(1)
    assert codes(pipe) == [1008]


async def test_a_client_that_the_server_does_not_read_has_another_minute(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server)
    clock = Clock(server)
    connection.data_received(BEGIN)
    connection.session.backlog = []
    clock.advance(MESSAGE_SECONDS)
    assert codes(pipe) == []
    connection.session.backlog = None
    clock.advance(MESSAGE_SECONDS - 1)
    assert codes(pipe) == []
    clock.advance(1)
    assert codes(pipe) == [1008]


async def test_all_unfinished_messages_together_are_bounded_and_the_oldest_is_given_up(serve: Serve) -> None:
    server = await serve()
    unfinished = server.heartbeat.unfinished
    unfinished._max_bytes = 10_000
    clients = [connect(server) for _ in range(5)]
    for _, connection in clients:
        connection.data_received(masked(TEXT, b"x" * 2400, final=False))
    assert [codes(pipe) for pipe, _ in clients] == [[1013], [], [], [], []]
    assert unfinished._bytes == 4 * 2400
    clients[2][1].data_received(masked(CONTINUATION, b"x" * 600, final=False))
    assert [codes(pipe) for pipe, _ in clients] == [[1013], [1013], [], [], []]
    for pipe, connection in clients[2:]:
        pipe.protocol.connection_lost(None)
        assert connection.parser is None
    assert unfinished._bytes == 0
    assert unfinished._of == {}


@pytest.mark.parametrize("close", ["end", "lost", "fail"])
async def test_nothing_is_counted_for_a_closed_connection(serve: Serve, close: str) -> None:
    server = await serve()
    _, connection = connect(server)
    connection.data_received(BEGIN)
    assert server.heartbeat.unfinished._bytes == 500
    if close == "end":
        connection.end(1000, "bye", label="operator")
    elif close == "lost":
        connection.connection_lost(None)
    else:
        connection.data_received(masked(TEXT, b"a new message inside a fragmented one"))
    assert isinstance(connection, Connection)
    assert server.heartbeat.unfinished._of == {}
    assert server.heartbeat.unfinished._bytes == 0


def test_a_few_messages_of_any_allowed_size_have_room() -> None:
    assert UnfinishedMessages(1 << 30)._max_bytes == 4 << 30
    assert UnfinishedMessages(1 << 20)._max_bytes == MAX_BYTES
