"""One connection of a real server: signs of life, and what is never written after a close."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fastws.server.server import Server
from fastws.transport.websocket import Connection
from tests.hostile.raw_client import CLOSE, PING, PONG, TEXT, masked
from tests.serving import OpenRaw, RawSocket, Serve
from tests.transport.pipes import connect, say

SUBSCRIBE = masked(TEXT, json.dumps({"action": "subscribe", "channel": "a"}).encode())
ROUNDS = 4
QUEUE = {"max_queue_bytes": 64_000_000, "max_queue_messages": 10_000, "allow_anonymous": True}


async def subscribed(server: Server, open_raw: OpenRaw) -> tuple[RawSocket, Connection]:
    """A client in channel `a` whose receive buffer is small, and the server's side of it. No round turns by itself."""
    raw = await open_raw(server, limit=4096, buffer_bytes=4096)
    await raw.receive()
    await raw.send_bytes(SUBSCRIBE)
    await raw.receive()
    [connection] = server.roster
    assert isinstance(connection, Connection)
    return raw, connection


def rounds_until_closed(connection: Connection, most: int = 100) -> int:
    for count in range(1, most):
        connection.check_liveness(ROUNDS, pings=True)
        if connection.is_gone:
            return count
    return most


@pytest.fixture(params=["tcp", "unix"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return QUEUE if request.param == "tcp" else {**QUEUE, "unix_socket": str(tmp_path / "socket")}


async def test_a_client_that_reads_its_queue_is_not_idle_however_long_that_takes(
    serve: Serve, open_raw: OpenRaw, place: dict[str, Any]
) -> None:
    server = await serve(**place)
    raw, connection = await subscribed(server, open_raw)
    count, size = 200, 100_000
    for _ in range(count):
        await server.broadcaster.publish("a", "e", "x" * size)
    frames = 0
    while frames < count:
        connection.check_liveness(ROUNDS, pings=True)
        assert not connection.is_gone, frames
        for _ in range(5):  # more than a Unix socket's buffer holds, so that ours is asked for more
            opcode, _ = await raw.receive()
            frames += opcode == TEXT
    await raw.send(PONG, b"")


async def test_a_client_that_stops_reading_is_idle_after_the_usual_rounds(
    serve: Serve, open_raw: OpenRaw, place: dict[str, Any]
) -> None:
    server = await serve(**place)
    raw, connection = await subscribed(server, open_raw)
    for _ in range(200):
        await server.broadcaster.publish("a", "e", "x" * 100_000)
    for _ in range(2 * ROUNDS):
        connection.check_liveness(ROUNDS, pings=True)
        for _ in range(5):
            await raw.receive()
    assert not connection.is_gone
    raw.reader._transport.pause_reading()  # type: ignore[attr-defined] # nothing more is read, not even into memory
    await _until_still(connection)
    assert rounds_until_closed(connection) <= ROUNDS + 1


async def _until_still(connection: Connection) -> None:
    """Until the kernels have moved what they can."""
    before = None
    while (now := connection.waiting) != before:
        before = now
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_hanging_program_is_idle_although_its_kernel_accepts_data(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(**QUEUE)
    _, connection = await subscribed(server, open_raw)
    for count in range(1, 100):
        await server.broadcaster.publish("a", "e", count)
        connection.check_liveness(ROUNDS, pings=True)
        if connection.is_gone:
            break
    assert count == ROUNDS + 1


async def test_a_ping_is_queued_behind_waiting_data(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(**QUEUE)
    raw, connection = await subscribed(server, open_raw)
    count = 0
    while connection.outbox is None:
        await server.broadcaster.publish("a", "e", "x" * 100_000)
        count += 1
    connection.check_liveness(ROUNDS, pings=True)
    connection.check_liveness(ROUNDS, pings=True)
    opcodes = [(await raw.receive())[0] for _ in range(count + 1)]
    assert opcodes == [*[TEXT] * count, PING]


async def test_a_sign_of_life_begins_the_count_again(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(**QUEUE)
    raw, connection = await subscribed(server, open_raw)
    for _ in range(5):
        for _ in range(ROUNDS):
            connection.check_liveness(ROUNDS, pings=True)
        await raw.send(PONG, b"")
        await raw.send_bytes(masked(TEXT, b'{"action":"ping"}'))
        while (await raw.receive())[0] != TEXT:
            pass
    assert rounds_until_closed(connection) == ROUNDS + 1


# --- nothing after a close

CLOSE_FRAME = masked(CLOSE, (1000).to_bytes(2, "big"))


async def frames_until_the_end(raw: RawSocket) -> list[int]:
    opcodes = []
    try:
        while True:
            opcodes.append((await raw.receive())[0])
    except asyncio.IncompleteReadError:
        return opcodes


@pytest.mark.parametrize("has_outbox", [False, True])
async def test_no_frame_is_written_after_our_close(serve: Serve, open_raw: OpenRaw, *, has_outbox: bool) -> None:
    server = await serve(**QUEUE)
    raw, connection = await subscribed(server, open_raw)
    while has_outbox and connection.outbox is None:
        await server.broadcaster.publish("a", "e", "x" * 100_000)
    connection.end(1000, "over", label="operator")
    connection.end(1001, "twice", label="operator")
    connection.revoke()
    connection.expire()
    connection.write_control(b"\x8a\x00")
    connection.send(b"\x8a\x00")
    await server.broadcaster.publish("a", "e", "late")
    await server.broadcaster.send(connection.id, "e", "late")
    await raw.send_bytes(masked(PING, b"x") + SUBSCRIBE + CLOSE_FRAME)
    opcodes = await frames_until_the_end(raw)
    assert opcodes.index(CLOSE) == len(opcodes) - 1


async def test_nothing_is_processed_after_the_peers_close(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(**QUEUE)
    other, _ = await subscribed(server, open_raw)
    raw = await open_raw(server)
    await raw.receive()
    send = masked(TEXT, json.dumps({"action": "send", "channel": "a", "event": "e"}).encode())
    await raw.send_bytes(CLOSE_FRAME + masked(PING, b"x") + send)
    assert await frames_until_the_end(raw) == [CLOSE]
    await other.send(PING, b"")
    assert await other.receive() == (PONG, b"")  # and nothing before it


async def test_a_client_that_is_not_read_from_is_not_taken_for_dead(serve: Serve) -> None:
    _, connection = connect(await serve())
    connection.probe(5.0)
    connection.session.backlog = []
    assert not connection.end_probe()
    connection.session.backlog = None
    assert connection.end_probe()


async def test_one_probe_at_a_time_and_any_message_answers_it(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server)
    for _ in range(2):
        connection.probe(5.0)
    assert pipe.writes[-2:].count(connection.session.form.ping_frame) == 1
    assert connection.silent == 1
    say(connection, {"action": "ping"})
    server.heartbeat._check_probes()
    assert server.heartbeat._probes == {}
    connection.end(1000, "", label="test")
    connection.probe(5.0)
    assert server.heartbeat._probes == {}
