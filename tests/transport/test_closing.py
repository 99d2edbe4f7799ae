"""Closing: the frames of both sides, the deadlines, and what is counted."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from fastws.errors import ProtocolViolation, UnsupportedData
from fastws.server.server import Server
from fastws.transport.closing import CLOSE_SECONDS, LINGER_SECONDS, SLOW_CLOSE_SECONDS
from fastws.transport.heartbeat import Ending, Heartbeat
from fastws.transport.states import State
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Pong
from tests.serving import Serve
from tests.transport.pipes import Pipe, connect, say


class HalfClosingPipe(Pipe):
    """A transport that can close its writing half alone, as TCP can and TLS cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.has_written_eof = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_written_eof = True


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each deadline that is set."""
    seconds_set: list[float] = []
    set_deadline = Heartbeat.abort_after

    def abort_after(heartbeat: Heartbeat, ending: Ending, seconds: float) -> None:
        seconds_set.append(seconds)
        set_deadline(heartbeat, ending, seconds)

    monkeypatch.setattr(Heartbeat, "abort_after", abort_after)
    return seconds_set


def close_frame(code: int | None, reason: str = "") -> bytes:
    payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
    return Frame(Opcode.CLOSE, payload).serialize(mask=True)


def closed(server: Server) -> dict[tuple[int, str], int]:
    return dict(server.counters.closed)


async def test_our_close_waits_for_the_peers_and_sends_nothing_more(serve: Serve, deadlines: list[float]) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    deadlines.clear()
    connection.end(1012, "restart", label="drain")
    connection.end(1001, "again", label="idle")
    server.hub.deliver(Publication("a", "late", None))
    server.hub.tick.flush_all()
    say(connection, {"action": "ping"})
    assert pipe.events == ["subscription_succeeded", 1012]
    assert (connection.state, pipe.is_closed) == (State.CLOSING, False)
    assert (closed(server), deadlines) == ({(1012, "drain"): 1}, [CLOSE_SECONDS])
    assert (server.hub.channels, len(server.roster)) == ({}, 0)
    connection.data_received(close_frame(1012))
    assert (connection.state, pipe.is_closed) == (State.LEAVING, True)


async def test_replies_of_the_same_turn_are_written_before_our_close(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    connection.session.cork = []
    connection.session.send_reply(Pong())
    connection.end(1000, "", label="test")
    assert pipe.events == ["pong", 1000]


async def test_a_close_resumes_reading_so_that_the_answer_is_read(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    connection.pause_reading()
    connection.end(1000, "", label="test")
    assert pipe.is_reading


@pytest.mark.parametrize("data", [b"\xff" * 64, close_frame(None)], ids=["invalid", "without a code"])
async def test_invalid_data_after_our_close_ends_the_connection_as_a_close_does(serve: Serve, data: bytes) -> None:
    pipe, connection = connect(await serve())
    connection.end(1000, "", label="test")
    connection.data_received(data)
    assert pipe.is_closed


@pytest.mark.parametrize(("code", "answer"), [(1000, 1000), (1001, 1001), (4000, 4000), (None, 1000)])
async def test_the_peers_close_is_answered_with_its_code(
    serve: Serve, deadlines: list[float], code: int | None, answer: int
) -> None:
    server = await serve()
    pipe, connection = connect(server)
    deadlines.clear()
    connection.data_received(close_frame(code, "bye" if code else ""))
    assert pipe.events == [answer]
    assert (connection.state, pipe.is_closed) == (State.LEAVING, True)
    assert closed(server) == {(code or 1005, "client"): 1}
    assert deadlines == [CLOSE_SECONDS]


async def test_what_waits_for_a_client_that_closes_is_dropped_and_counted(serve: Serve) -> None:
    server = await serve(max_queue_messages=10)
    pipe, connection = connect(server, "a")
    pipe.room = 0
    for number in range(4):
        server.hub.deliver(Publication("a", f"e{number}", None))
        server.hub.tick.flush_all()
    connection.data_received(close_frame(1000))
    assert server.counters.dropped["closed"] == 3  # the first is already in the transport
    pipe.take()
    assert pipe.events == ["subscription_succeeded", "e0", 1000]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProtocolViolation("bad"), 1002),
        (ProtocolViolation("too large", violation_code=1009), 1009),
        (UnsupportedData("binary only"), 1003),
    ],
)
async def test_a_violation_is_closed_with_its_code_and_only_our_half(
    serve: Serve, deadlines: list[float], error: ProtocolViolation | UnsupportedData, code: int
) -> None:
    server = await serve()
    pipe, connection = connect(server, pipe=(half := HalfClosingPipe()))
    deadlines.clear()
    connection.pause_reading()
    connection.fail(error)
    connection.fail(error)
    # Unread bytes at a close would reset the connection and with it the close frame.
    assert (half.has_written_eof, half.is_closed, half.is_reading) == (True, False, True)
    assert pipe.events == [code]
    assert (closed(server), deadlines) == ({(code, error.code): 1}, [LINGER_SECONDS])
    connection.data_received(b"\xff" * 100)
    assert pipe.events == [code]


async def test_where_halves_cannot_be_closed_a_violation_closes_both(serve: Serve, deadlines: list[float]) -> None:
    pipe, connection = connect(await serve())
    deadlines.clear()
    connection.fail(ProtocolViolation("bad"))
    assert pipe.is_closed
    assert deadlines == [CLOSE_SECONDS]


async def test_a_slow_consumer_loses_its_queue_and_has_a_second_to_read_why(
    serve: Serve, deadlines: list[float]
) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    pipe.room = 0
    deadlines.clear()
    for number in range(3):
        server.hub.deliver(Publication("a", f"e{number}", None))
        server.hub.tick.flush_all()
    connection.cut_off("a")
    assert connection.is_gone
    assert min(deadlines) == SLOW_CLOSE_SECONDS
    assert closed(server) == {(1013, "slow_consumer"): 1}
    assert server.counters.dropped["slow_consumer"] == 2
    pipe.take()
    assert pipe.events == ["subscription_succeeded", "e0", 1013]


async def test_a_peer_that_ends_without_a_close_is_lost(serve: Serve, deadlines: list[float]) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    pipe.room = 0
    for number in range(3):
        server.hub.deliver(Publication("a", f"e{number}", None))
        server.hub.tick.flush_all()
    deadlines.clear()
    assert not connection.eof_received()
    assert (connection.state, deadlines) == (State.LEAVING, [CLOSE_SECONDS])
    assert (closed(server), server.counters.dropped["closed"]) == ({(1006, "lost"): 1}, 2)
    connection.connection_lost(None)
    assert closed(server) == {(1006, "lost"): 1}


async def test_a_peer_that_ends_after_our_close_is_counted_once(serve: Serve) -> None:
    server = await serve()
    _, connection = connect(server)
    connection.end(1000, "", label="test")
    connection.eof_received()
    connection.connection_lost(None)
    assert closed(server) == {(1000, "test"): 1}
