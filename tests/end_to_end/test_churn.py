"""Storms of connects, subscriptions and resets during broadcasts: order and completeness hold, nothing leaks."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable

import orjson
from websockets.frames import Frame, Opcode

from benchmarks.in_process import HEAD, connect, masked
from benchmarks.in_process import server as make_server
from fastws.hub.channel import Audience, Channel
from fastws.server.server import Server
from fastws.session.session import Session
from fastws.transport.http import HttpConnection
from fastws.transport.websocket import Connection
from tests.serving import PATIENCE_SECONDS, Join, Serve, Talker

# The count of objects is exact: one that stays for each connect, or for each thousand, is seen.
CONNECTS = 20_000
LISTENERS, CHURNERS, PUBLICATIONS = 20, 30, 1000


class Raw(asyncio.Protocol):
    """A client that only sends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Ignore what arrives."""


def frame(message: object) -> bytes:
    return Frame(Opcode.TEXT, orjson.dumps(message)).serialize(mask=True)


async def churn(port: int, is_over: Callable[[], bool], name: str) -> int:
    """Connect, subscribe and unsubscribe quickly, leave by a reset or a close, and begin again until it is over."""
    rounds = 0
    loop = asyncio.get_running_loop()
    rush = b"".join(
        frame({"action": action, "channel": channel})
        for channel in ("storm", name, "storm")
        for action in ("subscribe", "unsubscribe", "subscribe")
    )
    while not is_over():
        transport, _ = await loop.create_connection(Raw, "127.0.0.1", port)
        transport.write(HEAD + rush)
        await asyncio.sleep(0)
        if rounds % 2:
            transport.write(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
        transport.abort() if rounds % 3 else transport.close()
        rounds += 1
        await asyncio.sleep(0)
    return rounds


async def listen(talker: Talker) -> list[int]:
    heard: list[int] = []
    while len(heard) < PUBLICATIONS:
        message = await talker.hear()
        if "event" in message:
            heard.append(message["data"])
    return heard


async def test_clients_that_stay_get_everything_in_order_through_a_storm(serve: Serve, join: Join) -> None:
    server = await serve(message_rate=0.0)
    listeners = [await join(server) for _ in range(LISTENERS)]
    for listener in listeners:
        await listener.ask({"action": "subscribe", "channel": "storm"})
    publisher = await join(server)
    hearing = [asyncio.create_task(listen(listener)) for listener in listeners]
    is_over = False
    churning = [asyncio.create_task(churn(server.port, lambda: is_over, f"own:{number}")) for number in range(CHURNERS)]
    for number in range(PUBLICATIONS):
        await publisher.say({"action": "send", "channel": "storm", "event": "n", "data": number})
        answer = await publisher.hear()
        assert answer["type"] == "send_success"
        assert answer["sent"] >= LISTENERS
    everything = list(range(PUBLICATIONS))
    assert all(heard == everything for heard in await asyncio.gather(*hearing))
    is_over = True
    rounds = await asyncio.gather(*churning)
    assert sum(rounds) > CHURNERS
    stayed = {listener.id for listener in listeners} | {publisher.id}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while {client.id for client in server.roster} != stayed:
            await asyncio.sleep(0)
    assert server.hub.count("storm") == LISTENERS
    assert set(server.hub.channels) == {"storm"}
    assert server.hub.subscriptions == LISTENERS


async def test_twenty_thousand_connects_leave_no_object_behind() -> None:
    server = await make_server()
    try:
        await leave_nothing_behind(server)
        assert not server.hub.channels
        assert not len(server.roster)
        assert server.gate.capacity.sockets == 0
    finally:
        await server.stop()


async def leave_nothing_behind(server: Server) -> None:
    def connect_once(number: int) -> None:
        _, connection = connect(server)
        for action in ("subscribe", "send", "unsubscribe", "subscribe"):
            message = {"action": action, "channel": f"c{number}", "event": "e"}
            connection.data_received(masked(orjson.dumps(message)))
        connection.connection_lost(None)

    for number in range(1000):
        connect_once(number)
    before = objects()
    for number in range(1000, 1000 + CONNECTS):
        connect_once(number)
        if number % 5000 == 0:
            await asyncio.sleep(0)
    # Objects that other tests left may have been freed meanwhile.
    assert not objects() - before


def objects() -> Counter[str]:
    """How many of our per-client objects are alive."""
    gc.collect()
    kinds = (Connection, HttpConnection, Session, Channel, Audience)
    return Counter(type(item).__name__ for item in gc.get_objects() if type(item) in kinds)
