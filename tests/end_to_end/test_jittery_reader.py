"""One reader among many that pauses now and then gets everything in order, however the flush is sliced."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import tempfile
from pathlib import Path
from typing import cast

from websockets.frames import Frame, Opcode

from fastws.transport.websocket import Connection
from fastws.vocabulary.publication import Publication
from tests.serving import PATIENCE_SECONDS, UPGRADE, OpenRaw, RawSocket, Serve

CROWD = 1500
MESSAGES = 150
SMALL_BUFFER = 4096
TEXT = 1
SUBSCRIBE = json.dumps({"action": "subscribe", "channel": "c"}).encode()
BODY = "x" * 2000


class Idle(asyncio.Protocol):
    """A client that subscribes, reads and discards."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not a subclass
        self._is_subscribed = False
        self._transport.write(UPGRADE.format(path="/").encode())

    def data_received(self, data: bytes) -> None:
        if not self._is_subscribed:
            self._is_subscribed = True
            self._transport.write(Frame(Opcode.TEXT, SUBSCRIBE).serialize(mask=True))


async def hear_all(raw: RawSocket, seed: int) -> list[int]:
    """Read the publications, with pauses of some turns of the loop in between, and return their numbers."""
    dice = random.Random(seed)
    heard: list[int] = []
    while len(heard) < MESSAGES:
        for _ in range(dice.randrange(8)):
            await asyncio.sleep(0)
        for _ in range(min(dice.randrange(1, 6), MESSAGES - len(heard))):
            message = json.loads((await raw.receive())[1])
            heard.append(message["data"]["n"])
    return heard


async def test_a_jittery_reader_among_many_misses_nothing(serve: Serve, open_raw: OpenRaw) -> None:
    with tempfile.TemporaryDirectory(prefix="fastws-") as folder:
        path = str(Path(folder) / "socket")
        server = await serve(unix_socket=path, allow_anonymous=True, max_queue_messages=10**6, max_queue_bytes=10**9)
        loop = asyncio.get_running_loop()
        jittery = await open_raw(server, buffer_bytes=SMALL_BUFFER, limit=1024)
        await jittery.receive()
        await jittery.send(TEXT, SUBSCRIBE)
        await jittery.receive()
        [client] = server.roster
        assert isinstance(client, Connection)
        # Two or three messages long, so that it is full whenever its reader pauses.
        client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        crowd = [(await loop.create_unix_connection(Idle, path))[0] for _ in range(CROWD)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while server.hub.count("c") < CROWD + 1:
                await asyncio.sleep(0)
        hearing = asyncio.create_task(hear_all(jittery, seed=1))
        for number in range(MESSAGES):
            server.hub.deliver(Publication("c", "e", {"n": number, "x": BODY}))
            await asyncio.sleep(0)
        heard = await hearing
        for transport in crowd:
            transport.abort()
    assert heard == list(range(MESSAGES))
