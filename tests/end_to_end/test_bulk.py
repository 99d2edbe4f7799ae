"""Bursts that no queue can hold: a fast reader gets them whole, one that does not read is still disconnected."""

from __future__ import annotations

import asyncio
from typing import cast

from fastws.transport.websocket import Connection
from fastws.vocabulary.publication import Publication
from tests.serving import Join, Serve

MEGABYTE = "x" * 1_000_000
BURST = 20


async def test_a_fast_reader_gets_a_burst_of_megabytes_whole(serve: Serve, join: Join) -> None:
    server = await serve(max_queue_bytes=1_048_576)
    reader, publisher = await join(server), await join(server)
    await reader.ask({"action": "subscribe", "channel": "bulk"})

    async def publish() -> None:
        for number in range(BURST):
            message = {"action": "send", "channel": "bulk", "event": str(number), "data": MEGABYTE}
            await publisher.say(message)

    publishing = asyncio.create_task(publish())
    heard = [(await reader.hear())["event"] for _ in range(BURST)]
    await publishing
    assert [(await publisher.hear())["type"] for _ in range(BURST)] == ["send_success"] * BURST
    assert heard == [str(number) for number in range(BURST)]
    assert not server.counters.slow_consumers


async def test_a_bulk_publisher_is_not_held_up_by_a_client_that_does_not_read(serve: Serve, join: Join) -> None:
    server = await serve(max_queue_bytes=1_048_576)
    stalled, publisher = await join(server), await join(server)
    await stalled.ask({"action": "subscribe", "channel": "bulk"})
    stalled.socket.transport.pause_reading()
    answers = 0
    while not server.counters.slow_consumers["disconnect"]:
        await publisher.say({"action": "send", "channel": "bulk", "event": "e", "data": MEGABYTE})
        assert (await publisher.hear())["type"] == "send_success"
        answers += 1
        assert answers < 200, "a client that reads nothing was never judged slow"
    stalled.socket.transport.abort()


async def test_a_client_in_many_channels_gets_what_they_say_in_one_turn_in_one_write(serve: Serve, join: Join) -> None:
    server = await serve()
    reader, publisher = await join(server), await join(server)
    names = [f"c{number}" for number in range(20)]
    for name in names:
        await reader.ask({"action": "subscribe", "channel": name})
    connection = server.roster.get(reader.id)
    assert isinstance(connection, Connection)
    written: list[bytes] = []
    connection.transport = cast(asyncio.Transport, _Recording(connection.transport, written))
    for name in names:
        server.broker.publish(Publication(name, "e", name))
    heard = [await reader.hear() for _ in names]
    assert [message["channel"] for message in heard] == names
    assert len(written) == 1
    await publisher.ask({"action": "send", "channel": "c0", "event": "alone", "data": 1})
    assert (await reader.hear())["event"] == "alone"


class _Recording:
    """A transport that records what is written through it."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]) -> None:
        self._transport = transport
        self._written = written

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)
