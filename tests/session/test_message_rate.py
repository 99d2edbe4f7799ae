"""The message rate: what is allowed, what is charged, and when the client is closed."""

from __future__ import annotations

import pytest

from fastws.session.message_rate import MIN_STRIKES, allowance, end_of_allowed, refuse_excess
from fastws.wire.opcodes import PING, TEXT
from tests.serving import Serve
from tests.transport.pipes import Pipe, connect


class Clock:
    """Monotonic seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_the_burst_is_allowed_and_then_the_rate(serve: Serve) -> None:
    server = await serve(message_rate=2.0, message_burst=5)
    server.services.clock = clock = Clock()
    _, connection = connect(server)
    session = connection.session
    assert [allowance(session, 3), allowance(session, 3), allowance(session, 3)] == [3, 2, 0]
    clock.now += 1.0
    assert allowance(session, 3) == 2
    clock.now += 2.5
    assert allowance(session, 9) == 5


async def test_refused_messages_are_not_charged(serve: Serve) -> None:
    server = await serve(message_rate=1.0, message_burst=1)
    server.services.clock = clock = Clock()
    _, connection = connect(server)
    session = connection.session
    assert [allowance(session, 1), allowance(session, 50)] == [1, 0]
    clock.now += 1.0
    assert allowance(session, 1) == 1


@pytest.mark.parametrize("rate", [0.3, 3.0, 7.0, 1000.0])
async def test_a_burst_in_several_reads_is_allowed_to_the_last_message(serve: Serve, rate: float) -> None:
    server = await serve(message_rate=rate, message_burst=50)
    server.services.clock = clock = Clock()
    clock.now = 1_000_000.1
    _, connection = connect(server)
    assert [allowance(connection.session, 1) for _ in range(51)] == [1] * 50 + [0]


async def test_without_a_rate_everything_is_allowed(serve: Serve) -> None:
    _, connection = connect(await serve(message_rate=0.0))
    assert allowance(connection.session, 1_000_000) == 1_000_000


async def test_a_client_is_closed_after_too_many_strikes_and_they_end_with_a_full_burst(serve: Serve) -> None:
    server = await serve(message_rate=1.0, message_burst=1)
    server.services.clock = clock = Clock()
    pipe, connection = connect(server)
    session = connection.session
    allowance(session, 1)
    refuse_excess(session, [(TEXT, b"{}")] * MIN_STRIKES)
    assert (session.strikes, connection.is_gone) == (MIN_STRIKES, False)
    clock.now += 1.0
    allowance(session, 1)
    assert session.strikes == 0
    refuse_excess(session, [(TEXT, b"{}")] * (MIN_STRIKES + 1))
    assert connection.is_gone
    assert pipe.events[-1] == 1008


async def test_a_ping_over_the_rate_is_answered_and_not_counted(serve: Serve) -> None:
    server = await serve(message_rate=1.0, message_burst=1)
    server.services.clock = Clock()
    pipe, connection = connect(server)
    refuse_excess(connection.session, [(TEXT, b"{}"), (PING, b"p")])
    assert written_after_greeting(pipe).endswith(b"\x8a\x01p")
    assert b"too many messages: 1 were not processed" in written_after_greeting(pipe)


def written_after_greeting(pipe: Pipe) -> bytes:
    return b"".join(pipe.writes[1:])


def test_control_frames_do_not_count_towards_the_allowed_messages() -> None:
    messages = [(PING, b""), (TEXT, b"1"), (PING, b""), (TEXT, b"2"), (PING, b"")]
    assert [end_of_allowed(allowed, messages) for allowed in range(3)] == [1, 3, 5]
