"""Joining channels: when a client becomes a member, and what it is sent in which order."""

from __future__ import annotations

from fastws.errors import Unavailable
from fastws.vocabulary.publication import Publication
from tests.session.late_broker import LateServer, ServeLate
from tests.transport.pipes import Pipe, connect, say

FORBIDDEN = Unavailable("Redis does not allow this channel")


def room_of_ada(server: LateServer) -> str:
    return f"/api/v1/ws?token={server.tokens.sign('ada')}"


def everything(pipe: Pipe) -> list[str]:
    """The events and types of all messages, the greeting included."""
    return [message.get("event") or message["type"] for message in pipe.all_messages]


async def test_the_greeting_waits_for_the_starting_channel(serve_late: ServeLate) -> None:
    server = await serve_late()
    pipe, connection = connect(server, target=room_of_ada(server))
    assert everything(pipe) == []
    assert not pipe.is_reading
    assert connection.channel_names == []
    server.late_broker.confirm("user:ada")
    assert everything(pipe) == ["connected"]
    assert pipe.is_reading
    assert connection.channel_names == ["user:ada"]


async def test_a_client_stays_in_a_starting_channel_that_the_broker_refuses(serve_late: ServeLate) -> None:
    server = await serve_late()
    pipe, connection = connect(server, target=room_of_ada(server))
    server.late_broker.refuse("user:ada", FORBIDDEN)
    assert everything(pipe) == ["connected", "error"]
    assert connection.channel_names == ["user:ada"]
    assert server.late_broker.unlistened == []


async def test_a_subscription_that_the_broker_refuses_is_an_error_and_leaves_nothing(serve_late: ServeLate) -> None:
    server = await serve_late()
    pipe, connection = connect(server)
    say(connection, {"action": "subscribe", "channel": "a", "id": 1})
    server.late_broker.refuse("a", FORBIDDEN)
    assert [(message["type"], message["message"], message["id"]) for message in pipe.messages] == [
        ("error", FORBIDDEN.message, 1)
    ]
    assert connection.channel_names == []
    assert server.late_broker.unlistened == ["a"]
    assert pipe.is_reading


async def test_a_channel_with_subscribers_is_joined_at_once(serve_late: ServeLate) -> None:
    server = await serve_late()
    _, first = connect(server, "a")
    server.late_broker.confirm("a")
    pipe, _ = connect(server, "a")
    assert pipe.events == ["subscription_succeeded"]
    assert server.late_broker.waiting == {}
    assert server.hub.count("a") == 2
    assert not first.is_gone


async def test_a_channel_with_subscribers_that_redis_refuses_now_is_not_joined(serve_late: ServeLate) -> None:
    server = await serve_late()
    connect(server, "a")
    server.late_broker.confirm("a")
    server.late_broker.refusals["a"] = FORBIDDEN
    pipe, connection = connect(server, "a")
    assert pipe.events == ["error"]
    assert connection.channel_names == []
    # The other subscriber still wants the channel.
    assert server.late_broker.unlistened == []


async def test_a_client_that_leaves_while_it_waits_lets_go_of_the_channel(serve_late: ServeLate) -> None:
    server = await serve_late()
    pipe, connection = connect(server, "a")
    connection.end(1000, "", label="test")
    server.late_broker.confirm("a")
    assert server.hub.channels == {}
    assert server.late_broker.unlistened == ["a"]
    assert pipe.events == [1000]


async def test_a_channel_is_left_to_others_that_joined_while_a_client_was_leaving(serve_late: ServeLate) -> None:
    server = await serve_late()
    _, leaving = connect(server, "a")
    connect(server, "a")
    leaving.end(1000, "", label="test")
    server.late_broker.waiting["a"].reverse()
    server.late_broker.confirm("a")
    assert server.hub.count("a") == 1
    assert server.late_broker.unlistened == []


async def test_publications_before_the_subscription_are_not_delivered_to_it(serve_late: ServeLate) -> None:
    server = await serve_late()
    first, _ = connect(server, "a")
    server.late_broker.confirm("a")
    pipe, connection = connect(server)
    server.hub.deliver(Publication("a", "before", None))
    say(connection, {"action": "subscribe", "channel": "a"})
    server.hub.tick.flush_all()
    assert first.events == ["subscription_succeeded", "before"]
    assert pipe.events == ["subscription_succeeded"]
