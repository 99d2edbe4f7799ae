"""The start of a connection with a client id: its mailbox, and the greeting before everything else."""

from __future__ import annotations

import pytest

from fastws.errors import Unavailable
from fastws.session.prioritized_session import OpeningFrame
from fastws.transport.outbox import Outbox
from fastws.transport.states import State
from fastws.vocabulary.publication import Publication
from tests.session.late_broker import LateHistory, LateServer, ServeLate
from tests.transport.pipes import Pipe, connect, say

HISTORY = ("user:**=10/60", "client:**=10/60")
HOME, MAILBOX = "user:ada", "client:ada:phone"
FORBIDDEN = Unavailable("Redis does not allow this channel")


def target(server: LateServer, query: str = "") -> str:
    return f"/api/v1/ws?client_id=phone{query}&token={server.tokens.sign('ada')}"


def publish(server: LateServer, channel: str, *events: str) -> None:
    for event in events:
        server.broker.publish(Publication(channel, event))
    server.hub.tick.flush_all()


def heard(pipe: Pipe) -> list[str]:
    return [message.get("event") or message.get("type") or message["close"] for message in pipe.all_messages]


def history(server: LateServer) -> LateHistory:
    assert isinstance(server.late_broker.history, LateHistory)
    return server.late_broker.history


async def test_the_greeting_comes_before_what_is_published_while_the_other_channel_is_awaited(
    serve_late: ServeLate,
) -> None:
    server = await serve_late()
    pipe, connection = connect(server, target=target(server))
    assert pipe.taken.startswith(b"HTTP/1.1 101")
    server.late_broker.confirm(HOME)
    publish(server, HOME, "home")
    assert connection.channel_names == [HOME]
    assert heard(pipe) == []
    server.late_broker.confirm(MAILBOX)
    publish(server, MAILBOX, "mail")
    publish(server, HOME, "more")
    assert heard(pipe) == ["connected", "home", "mail", "more"]
    assert pipe.all_messages[0]["client"] == {"channel": MAILBOX}
    assert connection.outbox is None
    assert connection not in server.roster.blocked


@pytest.mark.parametrize("is_blocked", [False, True])
async def test_replays_come_after_the_greeting_and_before_what_is_newer_in_their_channels(
    serve_late: ServeLate, *, is_blocked: bool
) -> None:
    server = await serve_late(history=HISTORY)
    publish(server, HOME, "h1", "h2")
    publish(server, MAILBOX, "m1", "m2")
    pipe, _ = connect(server, target=target(server, "&replay=1&client_replay=1"))
    server.late_broker.confirm(HOME)
    publish(server, HOME, "h3")
    assert heard(pipe) == []
    history(server).answer(HOME)
    publish(server, HOME, "h4")
    publish(server, MAILBOX, "m3")
    server.late_broker.confirm(MAILBOX)
    publish(server, MAILBOX, "m4")
    publish(server, HOME, "h5")
    if is_blocked:
        pipe.room = 0
        pipe.write(b"\x81\x02{}")
    history(server).answer(MAILBOX)
    publish(server, MAILBOX, "m5")
    publish(server, HOME, "h6")
    pipe.take()
    messages = [message for message in pipe.all_messages if message]
    assert messages[0]["event"] == "connected"
    assert (messages[0]["offset"], messages[0]["replayed"]) == (3, 1)
    assert messages[0]["client"] == {**messages[0]["client"], "channel": MAILBOX, "offset": 4, "replayed": 1}
    of_home = [(m["offset"], m["event"]) for m in messages[1:] if m.get("room_id") == HOME]
    of_mailbox = [(m["offset"], m["event"]) for m in messages[1:] if m.get("channel") == MAILBOX]
    assert of_home == [(3, "h3"), (4, "h4"), (5, "h5"), (6, "h6")]
    assert of_mailbox == [(4, "m4"), (5, "m5")]
    assert len(messages) == 1 + len(of_home) + len(of_mailbox)


async def test_with_a_broker_that_answers_at_once_nothing_waits(serve_late: ServeLate) -> None:
    server = await serve_late(history=HISTORY)
    for channel in (HOME, MAILBOX):
        publish(server, channel, "missed")
    first, _ = connect(server, target=target(server))
    server.late_broker.confirm(HOME)
    history(server).answer(HOME)
    server.late_broker.confirm(MAILBOX)
    history(server).answer(MAILBOX)
    assert heard(first) == ["connected"]
    # The broker hears both channels now, and only the history is asked again.
    pipe, connection = connect(server, target=target(server, "&replay=5&client_replay=5"))
    history(server).answer(HOME)
    history(server).answer(MAILBOX)
    assert heard(pipe) == ["connected", "missed", "missed"]
    publish(server, MAILBOX, "new")
    assert (heard(pipe)[-1], heard(first)[-1]) == ("new", "new")
    assert connection.outbox is None


async def test_channels_that_fail_are_told_after_the_greeting_and_the_client_stays(serve_late: ServeLate) -> None:
    server = await serve_late(history=HISTORY)
    pipe, connection = connect(server, target=target(server))
    history(server).error = FORBIDDEN
    server.late_broker.refuse(HOME, FORBIDDEN)
    history(server).answer(HOME)
    publish(server, HOME, "home")
    server.late_broker.confirm(MAILBOX)
    history(server).answer(MAILBOX)
    assert heard(pipe) == ["connected", "error", "error", "error", "home"]
    assert connection.channel_names == [HOME, MAILBOX]


async def test_without_room_for_the_mailbox_the_greeting_has_no_client(serve_late: ServeLate) -> None:
    server = await serve_late(max_channels=1)
    pipe, connection = connect(server, target=target(server))
    server.late_broker.confirm(HOME)
    assert heard(pipe) == ["connected", "error"]
    assert "client" not in pipe.all_messages[0]
    assert pipe.all_messages[1]["room_id"] == MAILBOX
    assert connection.channel_names == [HOME]


async def test_a_client_that_ends_while_it_waits_gets_its_close_and_no_publication(serve_late: ServeLate) -> None:
    server = await serve_late()
    pipe, connection = connect(server, target=target(server))
    server.late_broker.confirm(HOME)
    publish(server, HOME, "one", "two")
    assert connection.waiting == (2, connection.outbox.size if connection.outbox else 0)
    connection.end(1001, "", label="test")
    assert heard(pipe) == [1001]
    assert server.counters.dropped["closed"] == 2
    server.late_broker.confirm(MAILBOX)
    assert heard(pipe) == [1001]
    assert server.hub.channels == {}


async def test_what_waits_is_bounded_as_for_any_slow_client(serve_late: ServeLate) -> None:
    server = await serve_late(max_queue_messages=2, slow_policy=("drop_oldest",))
    pipe, _ = connect(server, target=target(server))
    server.late_broker.confirm(HOME)
    publish(server, HOME, "1", "2", "3")
    server.late_broker.confirm(MAILBOX)
    assert heard(pipe) == ["connected", "2", "3", "lag"]


async def test_what_waits_already_is_written_while_the_rest_is_held(serve_late: ServeLate) -> None:
    server = await serve_late()
    pipe, connection = connect(server)
    pipe.room = 0
    publish(server, "x")
    connection.write_control(b"\x89\x00")
    connection.write_control(b"\x89\x00")
    assert type(connection.outbox) is Outbox
    connection.hold()
    connection.write_control(b"\x8a\x00")
    before = len(pipe.taken)
    pipe.take()
    assert bytes(pipe.taken[before:]) == b"\x89\x00\x89\x00"
    connection.release([b"\x81\x02{}"])
    assert bytes(pipe.taken[before:]) == b"\x89\x00\x89\x00\x81\x02{}\x8a\x00"
    assert connection.outbox is None
    connection.release([b"never"])
    assert connection.state is State.OPEN
    assert not pipe.taken.endswith(b"never")


async def test_a_mailbox_alone_is_joined_before_the_greeting(serve_late: ServeLate) -> None:
    server = await serve_late(history=HISTORY)
    publish(server, "client:tab", "missed")
    pipe, connection = connect(server, target="/?client_id=tab&client_replay=1")
    server.late_broker.confirm("client:tab")
    assert heard(pipe) == []
    history(server).answer("client:tab")
    publish(server, "client:tab", "new")
    assert heard(pipe) == ["connection_id", "missed", "new"]
    say(connection, {"action": "ping"})
    assert heard(pipe)[-1] == "pong"
    assert not isinstance(pipe.writes[0], OpeningFrame)
