"""Clients that do not read: they are disconnected or get a lag notice, and other clients do not wait for them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from websockets.frames import Frame, Opcode

from fastws.server.server import Server
from fastws.transport.writer import MAX_CONTROL_BYTES
from fastws.vocabulary.publication import Publication
from tests.serving import PATIENCE_SECONDS, Join, Message, OpenRaw, RawSocket, Serve, Talker

TEXT, CLOSE = 1, 8
BLOCK = "x" * 65_536
SMALL_BUFFER = 4096
# Round trips in which a client that is to be stuck could still be read.
TURNS = 5


@pytest.fixture
def serve_near(serve: Serve) -> Iterator[Callable[..., Awaitable[Server]]]:
    """`serve` on a Unix socket: the kernel buffers the same amount for a client that does not read on any machine."""
    with tempfile.TemporaryDirectory(prefix="fastws-") as folder:
        yield lambda **settings: serve(unix_socket=str(Path(folder) / "socket"), allow_anonymous=True, **settings)


async def subscribe(raw: RawSocket, channel: str) -> None:
    await raw.receive()
    await raw.send(TEXT, json.dumps({"action": "subscribe", "channel": channel}).encode())
    await raw.receive()


async def fill(server: Server, sender: Talker, channel: str, connection_id: str) -> int:
    """Publish until a message waits for the client that does not read. Returns the number of publications.

    Its transport reads on until its own buffer is full, too: then nothing more is taken in a turn of the loop.
    """
    client = server.roster.clients[connection_id]
    number = refusals = 0
    while refusals < TURNS:
        if client.waiting is None:
            await sender.ask({"action": "send", "channel": channel, "event": "fill", "data": {"n": number, "x": BLOCK}})
            number, refusals = number + 1, 0
        else:
            await sender.hears_nothing()
            refusals += 1
    return number


async def slow_client(server: Server, open_raw: OpenRaw, channel: str) -> tuple[RawSocket, str]:
    known = set(server.roster.clients)
    raw = await open_raw(server, buffer_bytes=SMALL_BUFFER, limit=1024)
    await subscribe(raw, channel)
    [connection_id] = set(server.roster.clients) - known
    return raw, connection_id


async def read_to_end(raw: RawSocket) -> list[tuple[int, Any]]:
    """Every message and the close that come."""
    heard: list[tuple[int, Any]] = []
    try:
        while True:
            opcode, payload = await raw.receive()
            heard.append((opcode, payload if opcode == CLOSE else json.loads(payload)))
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return heard


async def test_a_slow_consumer_is_closed_with_1013_and_others_miss_nothing(
    serve_near: Serve, join: Join, open_raw: OpenRaw
) -> None:
    server = await serve_near(max_queue_messages=5, max_queue_bytes=10**9)
    raw, slow_id = await slow_client(server, open_raw, "a")
    other, sender = await join(server), await join(server)
    await other.ask({"action": "subscribe", "channel": "a"})
    hearing = asyncio.create_task(hear_until(other, "last"))
    with structlog.testing.capture_logs() as lines:
        filled = await fill(server, sender, "a", slow_id)
        # One of those waits already, in the transport: the queue behind it is still empty.
        for number in range(5):
            reply = await sender.ask({"action": "send", "channel": "a", "event": "queued", "data": number})
            assert (reply["sent"], reply["failed"]) == (2, 0)
        assert server.roster.clients[slow_id].waiting is not None
        reply = await sender.ask({"action": "send", "channel": "a", "event": "too many"})
        assert (reply["sent"], reply["failed"]) == (1, 1)
        reply = await sender.ask({"action": "send", "channel": "a", "event": "last"})
        assert (reply["sent"], reply["failed"]) == (1, 0)
    heard = await hearing
    assert [message["event"] for message in heard] == ["fill"] * filled + ["queued"] * 5 + ["too many", "last"]
    assert slow_id not in server.roster.clients
    [line] = [line for line in lines if line["event"] == "client removed: slow consumer"]
    assert (line["connection"], line["channel"], line["dropped"]) == (slow_id, "a", 5)
    told = await read_to_end(raw)
    assert told[-1] == (CLOSE, (1013).to_bytes(2, "big") + b"slow consumer")
    assert [message["event"] for opcode, message in told[:-1]] == ["fill"] * filled
    assert server.counters.slow_consumers == {"disconnect": 1}
    assert server.counters.dropped["slow_consumer"] == 5


async def hear_until(client: Talker, event: str) -> list[Message]:
    heard = [await client.hear()]
    while heard[-1]["event"] != event:
        heard.append(await client.hear())
    return heard


async def test_a_client_that_reads_nothing_after_its_close_is_aborted(
    serve_near: Serve, join: Join, open_raw: OpenRaw
) -> None:
    server = await serve_near(max_queue_messages=1)
    _raw, slow_id = await slow_client(server, open_raw, "a")
    sender = await join(server)
    await fill(server, sender, "a", slow_id)
    slow = server.roster.clients[slow_id]
    for _ in range(2):
        await sender.ask({"action": "send", "channel": "a", "event": "e"})
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.gate.open_connections > 1:  # the sender stays
            await asyncio.sleep(0.01)
    assert slow.is_gone


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"),
    [
        ("drop_oldest", [4, 5, 6], 4),
        ("drop_newest", [0, 1, 2], 4),
        ("conflate", [3, 6], 0),
    ],
)
async def test_a_policy_by_channel_drops_and_says_how_many(
    serve_near: Serve, join: Join, open_raw: OpenRaw, policy: str, kept: list[int], dropped: int
) -> None:
    server = await serve_near(max_queue_messages=3, max_queue_bytes=10**9, slow_policy=("disconnect", f"a*={policy}"))
    raw, slow_id = await slow_client(server, open_raw, "a1")
    sender = await join(server)
    filled = await fill(server, sender, "a1", slow_id)
    for number in range(7):
        key = "first" if number <= 3 else "second"
        await sender.ask({"action": "send", "channel": "a1", "event": "e", "data": number, "key": key})
    heard = [json.loads((await raw.receive())[1]) for _ in range(filled + len(kept))]
    assert [message["data"]["n"] for message in heard[:filled]] == list(range(filled))
    assert [message["data"] for message in heard[filled:]] == kept
    if dropped:
        assert json.loads((await raw.receive())[1]) == {"type": "lag", "channel": "a1", "dropped": dropped}
    said = {"action": "send", "channel": "a1", "event": "after", "data": 8}
    assert (await sender.ask(said))["sent"] == 1
    assert json.loads((await raw.receive())[1])["event"] == "after"


async def test_one_message_larger_than_the_whole_queue_reaches_a_client_with_an_empty_queue(
    serve: Serve, join: Join
) -> None:
    server = await serve(max_queue_bytes=1000)
    client, sender = await join(server), await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    for number in range(3):
        await sender.ask({"action": "send", "channel": "a", "event": "e", "data": {"n": number, "x": "y" * 500_000}})
        assert (await client.hear())["data"]["n"] == number


async def test_a_burst_of_ten_thousand_in_one_write_is_not_slowness(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, limit=2**22)
    await subscribe(raw, "a")
    frame = Frame(Opcode.TEXT, b'{"action":"send","channel":"a","event":"e"}').serialize(mask=True)
    count = 10_000
    sending = asyncio.create_task(raw.send_bytes(frame * count))
    kinds = {"e": 0, "send_success": 0}
    while kinds["send_success"] < count:
        message = json.loads((await raw.receive())[1])
        kinds[message.get("event") or message["type"]] += 1
    await sending
    assert kinds == {"e": count, "send_success": count}


async def test_the_server_stops_reading_a_ping_flood_of_a_client_that_does_not_read(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(message_rate=0.0)
    raw = await open_raw(server, buffer_bytes=SMALL_BUFFER, limit=1024)
    await raw.receive()
    [client] = server.roster
    flood = Frame(Opcode.PING, b"x" * 100).serialize(mask=True) * 50_000
    sending = asyncio.create_task(raw.send_bytes(flood * 3))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (client.waiting or (0, 0))[1] < MAX_CONTROL_BYTES:
            await asyncio.sleep(0)
    for _ in range(2000):  # turns in which it could be read on
        await asyncio.sleep(0)
        assert (client.waiting or (0, 0))[1] < 700_000
    assert not sending.done()
    sending.cancel()


async def test_a_client_whose_queue_is_full_is_a_failure_to_a_direct_sender_and_stays(
    serve_near: Serve, join: Join, open_raw: OpenRaw
) -> None:
    server = await serve_near(max_queue_messages=2)
    raw, slow_id = await slow_client(server, open_raw, "a")
    sender = await join(server)
    filled = await fill(server, sender, "a", slow_id)
    outcomes = []
    for number in range(4):
        reply = await sender.ask({"action": "send", "connectionId": slow_id, "event": "direct", "data": number})
        outcomes.append((reply["sent"], reply["failed"]))
    assert outcomes == [(1, 0), (1, 0), (0, 1), (0, 1)]
    assert server.counters.dropped == {"direct": 2}
    for _ in range(filled):
        await raw.receive()
    assert [json.loads((await raw.receive())[1])["data"] for _ in range(2)] == [0, 1]
    await raw.send(9, b"")
    assert await raw.receive() == (10, b"")  # no lag notice: the sender got `failed`


async def test_nobody_cut_off_inside_its_own_request_comes_back(
    serve_near: Serve, join: Join, open_raw: OpenRaw
) -> None:
    server = await serve_near(max_queue_messages=1)
    raw, slow_id = await slow_client(server, open_raw, "a")
    sender = await join(server)
    await fill(server, sender, "a", slow_id)
    await sender.ask({"action": "send", "channel": "a", "event": "e"})
    # Its next request closes it, and the subscription after that must not remain.
    said = [{"action": "send", "channel": "a", "event": "e"}, {"action": "subscribe", "channel": "b"}]
    frames = b"".join(Frame(Opcode.TEXT, json.dumps(m).encode()).serialize(mask=True) for m in said)
    await raw.send_bytes(frames)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while slow_id in server.roster.clients:
            await asyncio.sleep(0)
    assert server.hub.channels == {}
    assert server.hub.subscriptions == 0


async def test_a_client_that_reads_steadily_gets_a_run_larger_than_its_queue(serve: Serve, join: Join) -> None:
    server = await serve(flush_interval=("c=200",), max_queue_messages=100, max_queue_bytes=100_000)
    reader, publisher = await join(server), await join(server)
    await reader.ask({"action": "subscribe", "channel": "c"})
    count = 2000

    async def publish() -> None:
        for _ in range(count // 50):
            for _ in range(50):
                server.broker.publish(Publication("c", "e", "x" * 1000))
            await publisher.hears_nothing()

    publishing = asyncio.create_task(publish())
    for _ in range(count):
        assert (await reader.hear())["event"] == "e"
    await publishing
    assert server.counters.slow_consumers == {}
    assert server.counters.closed == {}
