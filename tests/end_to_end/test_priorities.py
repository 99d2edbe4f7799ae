"""Priorities on real sockets: a slow reader gets high channels first and low ones last."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fastws.server.server import Server
from fastws.vocabulary.publication import Publication
from tests.serving import OpenRaw, RawSocket, Serve

TEXT = 1
BLOCK = "x" * 65_536
PRIORITY = ("alarm:**=high", "metrics:**=low")
CHANNELS = ("metrics:cpu", "chat", "alarm:fire")


async def subscribed(server: Server, open_raw: OpenRaw) -> RawSocket:
    raw = await open_raw(server, buffer_bytes=4096, limit=1024)
    await raw.receive()
    for channel in CHANNELS:
        await raw.send(TEXT, json.dumps({"action": "subscribe", "channel": channel}).encode())
        await raw.receive()
    return raw


async def block(server: Server) -> int:
    """Publish until something waits for the client in its outbox. Returns the number of publications."""
    [client] = server.roster
    count = 0
    while client.waiting is None:
        count += 1
        server.hub.deliver(Publication("chat", "block", BLOCK))
        await asyncio.sleep(0)
        server.hub.flush()
    return count


async def hear(raw: RawSocket, count: int) -> list[tuple[str, int]]:
    messages: list[Any] = [json.loads((await raw.receive())[1]) for _ in range(count)]
    return [(message["channel"], message.get("data")) for message in messages]


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest", "drop_newest"])
async def test_a_slow_reader_gets_high_channels_first_and_low_ones_last(
    serve: Serve, open_raw: OpenRaw, policy: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="fastws-") as folder:
        server = await serve(
            unix_socket=str(Path(folder) / "socket"),
            allow_anonymous=True,
            priority=PRIORITY,
            slow_policy=(policy,),
            max_queue_bytes=10**8,
        )
        raw = await subscribed(server, open_raw)
        blocks = await block(server)
        for number in range(10):
            for channel in CHANNELS:
                server.hub.deliver(Publication(channel, "e", number))
            server.hub.flush()
        expected = [(channel, number) for channel in reversed(CHANNELS) for number in range(10)]
        await hear(raw, blocks)
        assert await hear(raw, len(expected)) == expected


async def test_a_full_queue_drops_low_channels_first(serve: Serve, open_raw: OpenRaw) -> None:
    with tempfile.TemporaryDirectory(prefix="fastws-") as folder:
        server = await serve(
            unix_socket=str(Path(folder) / "socket"),
            allow_anonymous=True,
            priority=PRIORITY,
            slow_policy=("drop_oldest",),
            max_queue_messages=6,
            max_queue_bytes=10**8,
        )
        raw = await subscribed(server, open_raw)
        blocks = await block(server)
        for channel in CHANNELS:
            for number in range(3):
                server.hub.deliver(Publication(channel, "e", number))
            server.hub.flush()
        await hear(raw, blocks)
        kept = [("alarm:fire", 0), ("alarm:fire", 1), ("alarm:fire", 2), ("chat", 0), ("chat", 1), ("chat", 2)]
        assert await hear(raw, 6) == kept
        lag = json.loads((await raw.receive())[1])
        assert lag == {"type": "lag", "channel": "metrics:cpu", "dropped": 3}
