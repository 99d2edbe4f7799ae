"""Bursts that no queue can hold: a fast reader gets them whole, one that does not read is cut off all the same."""

from __future__ import annotations

import asyncio

from tests.serving import Join, Serve

MEGABYTE = "x" * 1_000_000
BURST = 40


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
    assert heard == [str(number) for number in range(BURST)]
    assert not server.counters.slow_consumers


async def test_a_bulk_publisher_is_not_held_up_for_ever_by_a_client_that_does_not_read(serve: Serve, join: Join) -> None:
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
