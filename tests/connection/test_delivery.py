"""What a client's socket does not take at once: held, written in order, and counted as what became of it."""

from __future__ import annotations

from fastws.hub.channel import Chunk
from fastws.hub.ports import Verdict
from fastws.server import Server
from fastws.vocabulary.publication import Publication
from tests.connection.pipes import connect, say
from tests.serving import Serve

FRAME = b'\x81\x0d{"event":"e"}'


def chunk(policy: str = "disconnect") -> Chunk:
    return Chunk("c", policy, [FRAME], FRAME, ["e"])


def publish(server: Server, channel: str, *events: str) -> None:
    for event in events:
        server.hub.deliver(Publication(channel, event, "x"))


async def test_who_has_read_in_between_gets_what_it_was_to_hold(serve: Serve) -> None:
    pipe, connection = connect(await serve(), "c")
    pipe.take(0)
    connection.push(FRAME)
    assert connection.send(FRAME)
    pipe.take()
    assert connection.hold(chunk()) is Verdict.HELD
    assert pipe.events == ["subscription_succeeded", "e", "e"]


async def test_who_is_gone_holds_nothing_and_has_refused_nothing(serve: Serve) -> None:
    pipe, connection = connect(await serve(), "c")
    pipe.take(0)
    connection.push(FRAME)
    connection.end(1000, "", label="test")
    assert connection.hold(chunk()) is Verdict.GONE
    pipe.take()
    assert pipe.events == ["subscription_succeeded", "e", 1000]


async def test_what_waits_goes_out_in_order_when_the_client_reads(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, "c")
    pipe.take(0)
    for event in ("1", "2", "3"):
        publish(server, "c", event)
        server.hub.flush()
    say(connection, {"action": "ping"})
    assert connection.waiting is not None
    pipe.take()
    assert connection.waiting is None
    assert pipe.events == ["subscription_succeeded", "1", "2", "3", "pong"]
