"""What a receiver counts."""

from __future__ import annotations

import pytest
import pytest_asyncio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from fastws.bench.plan import Plan
from fastws.bench.receiver import Receiver
from fastws.bench.shared import Shared
from fastws.bench.timestamp import timestamp


def _frames(*numbers: int) -> bytes:
    server = Connection(ConnectionType.SERVER)
    return b"".join(server.send(TextMessage(timestamp(1_000, number).decode())) for number in numbers)


@pytest_asyncio.fixture
async def shared() -> Shared:
    shared = Shared(Plan(urls=("ws://127.0.0.1:1/",), connections=2))
    shared.measure(0, 10_000, 1)
    return shared


@pytest.mark.parametrize(
    ("heard", "missing", "repeated"),
    [
        ((0, 1, 2, 3), 0, 0),
        ((0, 1, 3), 1, 0),
        ((2, 3), 2, 0),
        ((0, 1, 1, 2), 0, 1),
        ((0, 2, 1, 3), 1, 1),
        ((0, 9), 8, 0),
    ],
)
async def test_gaps_and_repetitions_are_counted(
    shared: Shared, heard: tuple[int, ...], missing: int, repeated: int
) -> None:
    together, one_by_one = Receiver(shared, 0), Receiver(shared, 1)
    together.data_received(_frames(*heard))
    assert (shared.missing, shared.repeated) == (missing, repeated)
    for number in heard:
        one_by_one.data_received(_frames(number))
    assert (shared.missing, shared.repeated) == (2 * missing, 2 * repeated)
    assert shared.deliveries == shared.latencies.count == 2 * len(heard)


async def test_same_bytes_at_another_receiver_are_read_once(shared: Shared) -> None:
    data = _frames(0, 1, 2)
    Receiver(shared, 0).data_received(data)
    parsed = shared.groups[0].recent[0]
    Receiver(shared, 1).data_received(bytes(bytearray(data)))
    assert shared.groups[0].recent == [parsed]
    assert shared.deliveries == 6


async def test_first_message_after_a_reconnect_is_the_first_expected(shared: Shared) -> None:
    receiver = Receiver(shared, 0)
    receiver.expected = None
    receiver.data_received(_frames(40, 41, 43))
    assert shared.missing == 1


async def test_latency_outside_the_measured_time_is_not_taken(shared: Shared) -> None:
    shared.measure(2_000, 3_000, 1)
    Receiver(shared, 0).data_received(_frames(0))
    assert shared.latencies.count == 0
    assert shared.deliveries == 1


async def test_close_code_of_the_server_is_counted(shared: Shared) -> None:
    receiver = Receiver(shared, 0)
    receiver.is_ready = True
    server = Connection(ConnectionType.SERVER)
    receiver.data_received(server.send(CloseConnection(1013, "slow consumer")))
    receiver.connection_lost(None)
    assert dict(shared.closed) == {"1013": 1}


async def test_lag_and_gap_notices_are_counted(shared: Shared) -> None:
    receiver = Receiver(shared, 0)
    receiver.is_ready = True
    server = Connection(ConnectionType.SERVER)
    receiver.data_received(server.send(TextMessage('{"type":"lag","channel":"c","dropped":3}')))
    receiver.data_received(server.send(TextMessage('{"type":"gap","channel":"c"}')))
    assert dict(shared.notices) == {"lag": 1, "gap": 1}
