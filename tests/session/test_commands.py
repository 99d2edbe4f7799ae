"""The commands of clients, as one connection sees them."""

from __future__ import annotations

import asyncio

import pytest

from fastws.access.tokens import REFUSAL
from fastws.vocabulary.publication import Publication
from tests.serving import Join, Serve, Talker
from tests.transport.pipes import Pipe, connect, say


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_a_refresh_with_an_invalid_or_revoked_token_gets_the_same_answer(serve: Serve, is_revoked: bool) -> None:
    server = await serve()
    pipe, connection = connect(server, target=f"/?token={server.tokens.sign('ada')}")
    fresh = server.tokens.sign("ada", ttl_seconds=600)
    if is_revoked:
        server.services.revocations.revoke_user("ada")
    else:
        fresh += "x"
    say(connection, {"action": "refresh", "token": fresh})
    assert pipe.messages == [{"type": "error", "code": "unauthorized", "message": REFUSAL}]


ALLOWED = {"**": ["**"], "one channel": ["news"]}


def send_to(target: Talker, event: str = "hello") -> dict[str, object]:
    return {"action": "send", "connectionId": target.id, "event": event, "data": 1, "id": 7}


@pytest.mark.parametrize("publish", ALLOWED.values(), ids=ALLOWED)
async def test_a_token_that_allows_publishing_allows_direct_sends(serve: Serve, join: Join, publish: list[str]) -> None:
    server = await serve(allow_anonymous=False)
    sender = await join(server, token=server.tokens.sign("ann", publish=publish))
    target = await join(server, token=server.tokens.sign("bob"))
    assert (await sender.ask(send_to(target)))["sent"] == 1
    assert await target.hear() == {"event": "hello", "data": 1, "from": sender.id}


async def test_a_token_that_allows_no_publishing_allows_no_direct_sends(serve: Serve, join: Join) -> None:
    server = await serve()
    target = await join(server)
    sender = await join(server, token=server.tokens.sign("ann", publish=[]))
    refusal = {"type": "error", "code": "forbidden", "message": "not allowed to send to connections", "id": 7}
    assert await sender.ask(send_to(target)) == refusal
    await target.hears_nothing()


@pytest.mark.parametrize("anonymous", [True, False])
async def test_a_token_without_the_claim_allows_direct_sends_if_anonymous_clients_are_allowed(
    serve: Serve, join: Join, anonymous: bool
) -> None:
    server = await serve(allow_anonymous=anonymous)
    sender, target = [await join(server, token=server.tokens.sign(user)) for user in ("ann", "bob")]
    reply = await sender.ask(send_to(target))
    assert (reply["type"], reply.get("code")) == (("send_success", None) if anonymous else ("error", "forbidden"))
    if anonymous:
        assert (await target.hear())["event"] == "hello"
    await target.hears_nothing()


async def test_clients_cannot_forge_an_event_of_the_server_by_a_direct_send(serve: Serve, join: Join) -> None:
    server = await serve()
    sender, reader = await join(server), await join(server)
    target = await join(server, "/ws", token=server.tokens.sign("bob", workspaces=["w1"]))
    for event in ("metrics_update", "error", "gap"):
        reply = await sender.ask(send_to(target, event))
        assert (reply["code"], reply["id"]) == ("forbidden", 7)
        assert event in reply["message"]
    await target.hears_nothing()
    # To clients of other dialects these are events like any other, and the server's own events still arrive.
    assert (await sender.ask(send_to(reader, "error")))["sent"] == 1
    assert (await reader.hear())["from"] == sender.id
    await server.broadcaster.publish_many([{"connectionId": target.id, "event": "metrics_update", "data": {"n": 1}}])
    assert (await target.hear())["data"] == {"n": 1}


def replies(pipe: Pipe, *fields: str) -> list[tuple[object, ...]]:
    return [tuple(message.get(field) for field in fields) for message in pipe.messages]


async def test_a_connection_has_a_maximum_of_channels_and_may_repeat_one_that_it_has(serve: Serve) -> None:
    pipe, connection = connect(await serve(max_channels_per_connection=2), "a", "b", "b", "c")
    assert replies(pipe, "type", "channel", "code") == [
        ("subscription_succeeded", "a", None),
        ("subscription_succeeded", "b", None),
        ("subscription_succeeded", "b", None),
        ("error", "c", "too_many_channels"),
    ]
    say(connection, {"action": "unsubscribe", "channel": "a"}, {"action": "subscribe", "channel": "c"})
    assert pipe.events[-2:] == ["unsubscribe_succeeded", "subscription_succeeded"]


async def test_the_server_has_a_maximum_of_channels_and_all_clients_may_join_existing_ones(serve: Serve) -> None:
    server = await serve(max_channels=1)
    connect(server, "a")
    pipe, _ = connect(server, "b", "a")
    assert replies(pipe, "type", "channel", "code") == [
        ("error", "b", "too_many_channels"),
        ("subscription_succeeded", "a", None),
    ]
    assert "maximum number of channels" in pipe.messages[0]["message"]


async def test_unsubscribing_confirms_also_what_was_never_subscribed(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    for channel in ("a", "a", "never"):
        say(connection, {"action": "unsubscribe", "channel": channel})
    assert pipe.events == ["subscription_succeeded"] + ["unsubscribe_succeeded"] * 3
    assert server.hub.channels == {}


async def test_pending_publications_are_delivered_between_the_replies_before_and_after_an_unsubscribe(
    serve: Serve,
) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    server.hub.deliver(Publication("a", "before", None))
    say(connection, {"action": "ping"}, {"action": "unsubscribe", "channel": "a"})
    server.hub.deliver(Publication("a", "after", None))
    server.hub.tick.flush_all()
    assert pipe.events == ["subscription_succeeded", "pong", "before", "unsubscribe_succeeded"]


async def test_a_send_may_leave_its_sender_out(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    other, _ = connect(server, "a")
    send = {"action": "send", "channel": "a", "event": "e"}
    say(connection, {**send, "data": 1, "exclude_self": True}, {**send, "data": 2})
    server.hub.tick.flush_all()
    await asyncio.sleep(0)
    assert [message["data"] for message in pipe.messages if "data" in message] == [2]
    assert [message["data"] for message in other.messages if "data" in message] == [1, 2]
    assert [message["sent"] for message in pipe.messages if message.get("type") == "send_success"] == [1, 2]
    assert server.counters.publications["client"] == 2


async def test_clients_may_not_publish_the_events_of_the_server(serve: Serve) -> None:
    server = await serve()
    token = server.tokens.sign("ada", channels=["**"], publish=["**"])
    pipe, connection = connect(server, target=f"/?token={token}")
    for event in ("metrics_update", "own"):
        say(connection, {"action": "send", "channel": "workspace:w1", "event": event})
    server.hub.tick.flush_all()
    await asyncio.sleep(0)
    assert replies(pipe, "type", "code") == [("error", "forbidden"), ("send_success", None)]


async def test_a_refresh_needs_a_connection_with_a_token(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server)
    say(connection, {"action": "refresh", "token": server.tokens.sign("ada")})
    assert replies(pipe, "type", "code") == [("error", "forbidden")]
    assert connection.identity is None


async def test_a_token_is_refreshed_at_most_once_per_second(serve: Serve) -> None:
    server = await serve()
    now = 100.0
    server.services.clock = lambda: now
    pipe, connection = connect(server, target=f"/?token={server.tokens.sign('ada')}")
    for seconds in (0.0, 0.9, 1.1):
        now = 100.0 + seconds
        say(connection, {"action": "refresh", "token": server.tokens.sign("ada")})
    assert replies(pipe, "type", "code") == [("refreshed", None), ("error", "rate_limited"), ("refreshed", None)]
    assert server.counters.rate_limited["refresh"] == 1


async def test_a_token_of_another_user_is_refused(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, target=f"/?token={server.tokens.sign('ada')}")
    say(connection, {"action": "refresh", "token": server.tokens.sign("bob")})
    assert replies(pipe, "type", "code") == [("error", "forbidden")]
    assert connection.identity is not None
    assert connection.identity.user == "ada"


async def test_channels_that_the_new_token_does_not_allow_are_left_with_a_notice(serve: Serve) -> None:
    server = await serve()
    first = server.tokens.sign("ada", channels=["a", "b"])
    pipe, connection = connect(server, "a", "b", target=f"/?token={first}")
    server.hub.deliver(Publication("a", "before", None))
    say(connection, {"action": "refresh", "token": server.tokens.sign("ada", channels=["b"]), "id": 1})
    assert replies(pipe, "type", "event", "channel", "reason")[2:] == [
        ("refreshed", None, None, None),
        (None, "before", "a", None),
        ("unsubscribe_succeeded", None, "a", "forbidden"),
    ]
    assert connection.channel_names == ["b"]


async def test_metrics_are_refused_once_the_token_no_longer_allows_the_workspace(serve: Serve) -> None:
    server = await serve()

    def token(workspace: str) -> str:
        return server.tokens.sign("ada", workspaces=[workspace])

    pipe, connection = connect(server, target=f"/ws?token={token('w1')}")
    request = {"type": "request_metrics", "metric_type": "connections"}
    say(connection, request)
    say(connection, {"type": "refresh", "token": token("w2")})
    say(connection, request)
    assert replies(pipe, "event", "message") == [
        ("metrics_update", None),
        ("refreshed", None),
        ("error", "the new token does not allow this workspace"),
        ("error", "the token no longer allows this workspace"),
    ]


async def test_a_filter_applies_to_what_is_published_after_its_reply(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, target=f"/ws?token={server.tokens.sign('ada', workspaces=['w1'])}")
    server.hub.deliver(Publication("workspace:w1", "before", None))
    say(connection, {"type": "ping"}, {"type": "subscribe", "event_types": ["wanted"]})
    for event in ("unwanted", "wanted"):
        server.hub.deliver(Publication("workspace:w1", event, None))
    server.hub.tick.flush_all()
    assert pipe.events == ["pong", "before", "subscribed", "wanted"]


async def test_channels_that_paths_imply_count_for_the_maximum_too(serve: Serve, join: Join) -> None:
    server = await serve(max_channels=1)
    ann, other_ann = [await join(server, "/api/v1/ws", token=server.tokens.sign("ann")) for _ in range(2)]
    bob = await join(server, "/api/v1/ws", token=server.tokens.sign("bob"))
    assert "maximum number of channels" in (await bob.hear())["message"]
    await bob.hears_nothing()
    assert list(server.hub.channels) == ["user:ann"]
    for client in (ann, other_ann):
        await client.hears_nothing()
