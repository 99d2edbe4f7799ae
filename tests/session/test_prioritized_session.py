"""Priorities: what waits for a client that does not read, with the replies and notices among it."""

from __future__ import annotations

from fastws.server.server import Server
from fastws.session.prioritized_session import PrioritizedSession
from fastws.session.session import Session
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication
from tests.serving import Serve
from tests.session.late_broker import ServeLate
from tests.transport.pipes import Pipe, connect, say

PRIORITY = ("high:**=high", "user:**=high", "low:**=low")
HISTORY = ("user:**=10/60", "low:**=10/60")


def publish(server: Server, channel: str, *events: str) -> None:
    for event in events:
        server.broker.publish(Publication(channel, event))
    server.hub.tick.flush_all()


def heard(pipe: Pipe) -> list[str]:
    """Of all messages the event, or the type with what it is about."""
    return [
        message.get("event") or ":".join(str(message[key]) for key in ("type", "channel", "close") if key in message)
        for message in pipe.all_messages
    ]


async def test_a_reply_about_a_channel_keeps_its_place_among_its_publications(serve: Serve) -> None:
    server = await serve(priority=PRIORITY)
    pipe, connection = connect(server, "low:a", "usual", "high:a")
    before = len(heard(pipe))
    pipe.room = 0
    publish(server, "usual", "blocks")
    publish(server, "low:a", "l1")
    publish(server, "usual", "u1")
    say(connection, {"action": "unsubscribe", "channel": "low:a"}, {"action": "unsubscribe", "channel": "usual"})
    say(connection, {"action": "subscribe", "channel": "low:a"}, {"action": "ping"})
    publish(server, "low:a", "l2")
    publish(server, "high:a", "h1")
    say(connection, {"action": "send", "channel": "high:a", "event": "h2"})
    server.hub.flush()
    server.hub.gap("high:a", Position(3, "x"))
    publish(server, "high:a", "h3")
    connection.end(1001, "", label="test")
    pipe.take()
    assert heard(pipe)[before:] == [
        *("blocks", "h1", "h2", "send_success:high:a", "gap:high:a", "h3"),
        *("u1", "unsubscribe_succeeded:usual", "pong"),
        *("l1", "unsubscribe_succeeded:low:a", "subscription_succeeded:low:a", "l2"),
        "1001",
    ]


async def test_a_replay_keeps_its_place_among_the_publications_of_its_channel(serve: Serve) -> None:
    server = await serve(priority=PRIORITY, history=HISTORY)
    publish(server, "low:a", "l1", "l2")
    pipe, connection = connect(server, "usual")
    before = len(heard(pipe))
    pipe.room = 0
    publish(server, "usual", "blocks")
    say(connection, {"action": "subscribe", "channel": "low:a", "replay": 2})
    publish(server, "low:a", "l3")
    publish(server, "usual", "u1")
    pipe.take()
    assert heard(pipe)[before:] == ["blocks", "u1", "subscription_succeeded:low:a", "l1", "l2", "l3"]


class FullPipe(Pipe):
    """The peer has not yet taken an earlier response, so that nothing can be written to it from the start."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.room = 0
        self.write(b"HTTP/1.1 200 OK")


async def test_the_response_and_the_greeting_come_before_a_replay_of_a_high_channel(serve: Serve) -> None:
    server = await serve(priority=PRIORITY, history=HISTORY)
    publish(server, "user:ada", "missed")
    target = f"/api/v1/ws?replay=1&token={server.tokens.sign('ada')}"
    pipe, _ = connect(server, target=target, pipe=FullPipe())
    publish(server, "user:ada", "new")
    pipe.take()
    assert pipe.taken.startswith(b"HTTP/1.1 200 OKHTTP/1.1 101")
    assert heard(pipe) == ["connected", "missed", "new"]


async def test_a_late_greeting_comes_before_a_replay_of_a_high_channel(serve_late: ServeLate) -> None:
    server = await serve_late(priority=PRIORITY)
    pipe, _ = connect(server, target=f"/api/v1/ws?token={server.tokens.sign('ada')}", pipe=FullPipe())
    server.late_broker.confirm("user:ada")
    publish(server, "user:ada", "new")
    pipe.take()
    assert pipe.taken.startswith(b"HTTP/1.1 200 OKHTTP/1.1 101")
    assert heard(pipe) == ["connected", "new"]


async def test_a_lag_notice_comes_after_what_waits_of_its_channel(serve: Serve) -> None:
    server = await serve(priority=PRIORITY, slow_policy=("drop_oldest",), max_queue_messages=2)
    pipe, _ = connect(server, "low:a", "usual")
    before = len(heard(pipe))
    pipe.room = 0
    publish(server, "usual", "blocks")
    publish(server, "low:a", "l1", "l2", "l3")
    publish(server, "usual", "u1")
    pipe.take()
    assert heard(pipe)[before:] == ["blocks", "u1", "l3", "lag:low:a"]
    assert pipe.all_messages[-1]["dropped"] == 2


async def test_a_server_without_priorities_has_plain_sessions(serve: Serve) -> None:
    for settings, kind in (({}, Session), ({"priority": ("low:**=off",)}, Session), ({"priority": PRIORITY}, None)):
        server = await serve(**settings)
        _, connection = connect(server)
        assert type(connection.session) is (kind or PrioritizedSession)
