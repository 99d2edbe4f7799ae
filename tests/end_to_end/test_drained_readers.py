"""Readers that pause while the server stops: each gets its close frame, or the server counts and logs it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from fastws.server.server import Server
from fastws.transport import closing
from fastws.transport.websocket import Connection
from fastws.vocabulary.publication import Publication
from tests.serving import PATIENCE_SECONDS, OpenRaw, RawSocket, Serve

TEXT = 1
SUBSCRIBE = json.dumps({"action": "subscribe", "channel": "c"}).encode()
SMALL_BUFFER = 4096
BODY = "x" * 4000


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():
            await asyncio.sleep(0)


async def paused_reader(server: Server, open_raw: OpenRaw) -> tuple[RawSocket, Connection]:
    """A subscriber of `c` that reads only when it is asked to, and its connection."""
    raw = await open_raw(server, buffer_bytes=SMALL_BUFFER, limit=1024)
    await raw.receive()
    await raw.send(TEXT, SUBSCRIBE)
    await raw.receive()
    connection = list(server.roster)[-1]
    assert isinstance(connection, Connection)
    return raw, connection


def unsent(connection: Connection) -> int:
    """Bytes that the server's kernel has taken and that of the client has not."""
    descriptor = connection.transport.get_extra_info("socket").fileno()
    count: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    return count


async def publish_until(server: Server, is_enough: Callable[[], object]) -> int:
    """Publish on `c`, one message per loop iteration. Returns their number."""
    count = 0
    while not is_enough():
        count += 1
        server.hub.deliver(Publication("c", "e", {"n": count, "x": BODY}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert count < 10_000
    return count


async def read_to_the_end(raw: RawSocket) -> tuple[int, int | None]:
    """The number of messages, and the code of the close frame; None if the connection ends without one."""
    count = 0
    with suppress(asyncio.IncompleteReadError, ConnectionResetError):
        while True:
            opcode, payload = await raw.receive()
            if opcode == 8:
                return count, int.from_bytes(payload[:2], "big")
            count += 1
    return count, None


async def test_what_the_kernel_has_taken_is_delivered_after_the_stop(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(allow_anonymous=True, drain_timeout=0.0)
    raw, connection = await paused_reader(server, open_raw)
    count = await publish_until(server, lambda: unsent(connection) > 4 * SMALL_BUFFER)
    assert connection.outbox is None
    with capture_logs() as lines:
        await server.drain()
        await server.stop()
    assert await read_to_the_end(raw) == (count, 1012)
    assert server.counters.undelivered_closes == 0
    assert [line["connection"] for line in lines if line["event"] == "close frame left to the kernel"] == [
        connection.id
    ]


async def test_a_close_frame_that_cannot_be_sent_is_counted_and_logged(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(allow_anonymous=True, drain_timeout=0.0)
    raw, connection = await paused_reader(server, open_raw)
    count = await publish_until(server, lambda: connection.outbox is not None and connection.outbox.messages)
    with capture_logs() as lines:
        await server.drain()
        await server.stop()
    read, code = await read_to_the_end(raw)
    assert read < count
    assert code is None
    assert server.counters.undelivered_closes == 1
    assert server.counters.dropped["closed"] > 0
    assert [line["connection"] for line in lines if line["event"] == "close frame not delivered"] == [connection.id]


async def test_a_close_frame_that_the_client_does_not_take_in_time_is_counted(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(allow_anonymous=True)
    raw, connection = await paused_reader(server, open_raw)
    count = await publish_until(server, lambda: unsent(connection) > 4 * SMALL_BUFFER)
    connection.end(1000, "", label="operator")
    assert connection.outbox is None
    server.heartbeat.abort_after(connection, 0.0)
    await server.gate.until_empty()
    assert server.counters.undelivered_closes == 1
    read, code = await read_to_the_end(raw)
    assert read < count
    assert code is None


async def test_clients_that_have_received_their_close_frame_are_not_counted(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(allow_anonymous=True, drain_timeout=0.0)
    readers = [await paused_reader(server, open_raw) for _ in range(3)]
    await server.drain()  # nobody answers the close frame
    server.heartbeat.abort_after(readers[0][1], 0.0)
    await until(lambda: server.gate.open_connections == 2)
    await server.stop()
    assert server.counters.undelivered_closes == 0
    assert [await read_to_the_end(raw) for raw, _ in readers] == [(0, 1012)] * 3


async def test_a_blocked_reader_is_closed_first_so_that_it_can_read_on(
    serve: Serve, open_raw: OpenRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "CLOSE_SECONDS", PATIENCE_SECONDS)
    server = await serve(allow_anonymous=True, drain_timeout=PATIENCE_SECONDS)
    others = [await open_raw(server) for _ in range(20)]
    raw, connection = await paused_reader(server, open_raw)
    late, late_connection = await paused_reader(server, open_raw)
    for reader in (connection, late_connection):
        reader.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    draining = asyncio.create_task(server.drain())
    await until(lambda: len(server.roster) == 21)
    assert not connection.is_gone
    blocked = (connection, late_connection)
    await publish_until(server, lambda: all((one.waiting or (0, 0))[0] > 20 for one in blocked))
    await until(lambda: connection.is_gone and late_connection.is_gone)
    assert len(server.roster) >= 16
    assert [(await read_to_the_end(reader))[1] for reader in (raw, late)] == [1012, 1012]
    draining.cancel()
    assert len(others) == 20
