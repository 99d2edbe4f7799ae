"""Pusher clients on one process: every rule of the protocol, with a client nobody here wrote below."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.end_to_end.pusher_client import APP, KEY, Enter, decoded, enter, signature
from tests.serving import KEY as BROADCAST_KEY
from tests.serving import Join, Serve

__all__ = ["enter"]

GHOST = "1234567890.1234567890"


async def broadcast(server: object, body: dict[str, object]) -> dict[str, int]:
    async with httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.port}/broadcast"  # type: ignore[attr-defined]
        answer = await client.post(url, json=body, headers={"Authorization": f"Bearer {BROADCAST_KEY}"})
        assert answer.status_code == 200, answer.text
        found: dict[str, int] = answer.json()
        return found


async def test_the_greeting_names_the_socket_id(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), pusher_activity_timeout=("30",))
    client = await enter(server, greets=False)
    first = decoded(await client.hear())
    assert first["event"] == "pusher:connection_established"
    assert re.fullmatch(r"\d{1,10}\.\d{1,10}", first["data"]["socket_id"])
    assert first["data"]["activity_timeout"] == 30
    await client.hears_nothing()


@pytest.mark.parametrize(
    ("key", "query", "code"),
    [("wrong", "protocol=7", 4001), (KEY, "protocol=8", 4007), (KEY, "protocol=", 4007), ("off", "", 4003)],
)
async def test_a_refused_client_is_told_and_closed(serve: Serve, enter: Enter, key: str, query: str, code: int) -> None:
    server = await serve(pusher_apps=(APP, "2:off:s"), pusher_enabled=("2=false",))
    client = await enter(server, key, query=query, greets=False)
    told = await client.hear()
    assert told["event"] == "pusher:error"
    assert told["data"]["code"] == code
    assert await client.end() == (code, told["data"]["message"])


@pytest.mark.parametrize("query", ["", "protocol=4", "protocol=5&client=js&version=8.4.0&flash=false", "token=rubbish"])
async def test_older_protocols_and_other_parameters_are_taken(serve: Serve, enter: Enter, query: str) -> None:
    client = await enter(await serve(pusher_apps=(APP,)), query=query)
    assert (await client.subscribe("orders"))["event"] == "pusher_internal:subscription_succeeded"


async def test_a_public_channel(serve: Serve, enter: Enter, join: Join) -> None:
    server = await serve(pusher_apps=(APP,))
    client = await enter(server)
    for _ in range(2):
        assert await client.subscribe("orders") == {
            "event": "pusher_internal:subscription_succeeded",
            "channel": "orders",
            "data": {},
        }
    sent = await broadcast(server, {"channel": "pusher:4711:orders", "event": "e", "data": {"n": 1}})
    assert sent["sent"] == 1
    assert await client.hear() == {"event": "e", "channel": "orders", "data": '{"n":1}'}
    for value, text in (("hi", '"hi"'), (None, "null"), ([1, "ü"], '[1,"ü"]')):
        await broadcast(server, {"channel": "pusher:4711:orders", "event": "e", "data": value})
        assert (await client.hear())["data"] == text
    await client.say("pusher:unsubscribe", {"channel": "orders"})
    await client.hears_nothing()
    assert (await broadcast(server, {"channel": "pusher:4711:orders", "event": "e"}))["sent"] == 0


async def test_reserved_events_do_not_reach_pusher_clients(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    client = await enter(server)
    await client.subscribe("c")
    for event in ("pusher:error", "pusher_internal:member_added"):
        await broadcast(server, {"channel": "pusher:4711:c", "event": event, "data": {}})
    await client.hears_nothing()
    async with httpx.AsyncClient() as web:
        metrics = (await web.get(f"http://127.0.0.1:{server.port}/metrics")).text
    assert 'fastws_dropped_messages_total{reason="reserved_event"} 2.0' in metrics


async def test_private_channels_need_a_signature(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP, "4711:second:other", "5:foreign:app"))
    client = await enter(server)
    assert (await client.subscribe("private-x"))["event"] == "pusher_internal:subscription_succeeded"
    assert (await client.subscribe("private-y", key="second", secret="other"))["data"] == {}
    for auth in (
        None,
        7,
        "",
        f"{KEY}:",
        signature(f"{GHOST}:private-z"),
        signature(f"{client.id}:private-zz"),
        signature(f"{client.id}:private-z", key="foreign", secret="app"),
        signature(f"{client.id}:private-z").upper(),
    ):
        await client.say("pusher:subscribe", {"channel": "private-z", "auth": auth})
        refused = await client.hear()
        assert refused["event"] == "pusher:subscription_error"
        assert refused["channel"] == "private-z"
        assert (refused["data"]["type"], refused["data"]["status"]) == ("AuthError", 401)
    await client.hears_nothing()


@pytest.mark.parametrize("name", ["", "a b", "x" * 201, "ä", "logs:1", "#x"])
async def test_a_channel_name_is_checked(serve: Serve, enter: Enter, name: str) -> None:
    client = await enter(await serve(pusher_apps=(APP,)))
    refused = await client.subscribe(name)
    assert (refused["channel"], refused["data"]["type"], refused["data"]["status"]) == (name, "BadRequest", 400)


async def test_bad_messages_leave_the_connection_open(serve: Serve, enter: Enter) -> None:
    client = await enter(await serve(pusher_apps=(APP,)))
    for text in ("x", "[]", "{}", '{"event":7}', '{"event":"pusher:nope"}', '{"event":"pusher:subscribe","data":"["}'):
        await client.socket.send(text)
        refused = await client.hear()
        assert refused["event"] == "pusher:error", refused
        assert refused["data"]["code"] is None
    await client.say("pusher:subscribe", json.dumps({"channel": "c"}))
    assert (await client.hear())["channel"] == "c"
    await client.socket.send(b'{"event":"pusher:ping"}')
    assert (await client.hear())["event"] == "pusher:pong"
    await client.say("pusher:pong")
    await client.hears_nothing()


async def test_members_of_a_presence_channel(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    first, second, third = [await enter(server) for _ in range(3)]
    joined = await first.subscribe("presence-r", member={"user_id": 7, "user_info": {"name": "A"}})
    assert joined["data"] == {"presence": {"count": 1, "ids": [7], "hash": {"7": {"name": "A"}}}}
    joined = await second.subscribe("presence-r", member={"user_id": "u2"})
    assert joined["data"] == {"presence": {"count": 2, "ids": [7, "u2"], "hash": {"7": {"name": "A"}, "u2": {}}}}
    added = await first.hear()
    assert added == {
        "event": "pusher_internal:member_added",
        "channel": "presence-r",
        "data": '{"user_id":"u2","user_info":{}}',
    }
    # The same user again: nobody is told, and its info is that of the first connection.
    again = await third.subscribe("presence-r", member={"user_id": "7", "user_info": {"name": "B"}})
    assert again["data"]["presence"]["hash"]["7"] == {"name": "A"}
    await second.hears_nothing()
    await first.socket.close()
    await second.hears_nothing()
    await third.say("pusher:unsubscribe", {"channel": "presence-r"})
    removed = await second.hear()
    assert removed["event"] == "pusher_internal:member_removed"
    assert removed["data"] == '{"user_id":7}'


async def test_limits_of_a_presence_channel(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), pusher_max_presence_members=("1",), pusher_max_member_bytes=("20",))
    first, second = await enter(server), await enter(server)
    await first.subscribe("presence-r", member={"user_id": "u1"})
    full = await second.subscribe("presence-r", member={"user_id": "u2"})
    assert (full["data"]["type"], full["data"]["status"]) == ("LimitReached", 4100)
    assert (await second.subscribe("presence-r", member={"user_id": "u1"}))["data"]["presence"]["count"] == 1
    large = await second.subscribe("presence-s", member={"user_id": "u", "user_info": "x" * 19})
    assert large["data"]["type"] == "LimitReached"
    await first.hears_nothing()


@pytest.mark.parametrize(
    "member", [[], {}, {"user_id": None}, {"user_id": True}, {"user_id": 1.5}, {"user_id": ""}, {"user_id": "x" * 129}]
)
async def test_channel_data_is_checked(serve: Serve, enter: Enter, member: object) -> None:
    client = await enter(await serve(pusher_apps=(APP,)))
    refused = await client.subscribe("presence-r", member=member)
    assert (refused["event"], refused["data"]["type"]) == ("pusher:subscription_error", "BadRequest")


async def test_client_events(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), pusher_client_events=("true",), pusher_client_event_rate=("0",))
    first, second = await enter(server), await enter(server)
    for client, user in ((first, 7), (second, "u2")):
        await client.subscribe("private-x")
        await client.subscribe("presence-r", member={"user_id": user})
    await first.hear()
    await first.say("client-typing", {"a": 1}, channel="private-x", user_id="forged")
    assert await second.hear() == {"event": "client-typing", "channel": "private-x", "data": {"a": 1}}
    await first.say("client-typing", '{"a":1}', channel="presence-r")
    assert await second.hear() == {
        "event": "client-typing",
        "channel": "presence-r",
        "data": '{"a":1}',
        "user_id": 7,
    }
    await first.socket.send('{"event":"client-x","channel":"private-x"}')
    assert (await second.hear())["data"] is None
    await first.hears_nothing()


@pytest.mark.parametrize(
    ("event", "channel", "data", "says"),
    [
        ("typing", "private-x", {}, "begin client-"),
        ("pusher_internal:member_added", "private-x", {}, "begin client-"),
        ("client-" + "x" * 194, "private-x", {}, "200 characters"),
        ("client-x", "orders", {}, "private and presence"),
        ("client-x", None, {}, "private and presence"),
        ("client-x", "private-y", {}, "subscribe to the channel"),
        ("client-x", "private-x", "ü" * 50, "more than 99 bytes"),
    ],
)
async def test_a_refused_client_event(
    serve: Serve, enter: Enter, event: str, channel: str | None, data: object, says: str
) -> None:
    server = await serve(pusher_apps=(APP,), pusher_client_events=("true",), pusher_max_event_bytes=("99",))
    client, other = await enter(server), await enter(server)
    for each in (client, other):
        await each.subscribe("private-x")
        await each.subscribe("orders")
    await client.say(event, data, channel=channel)
    refused = await client.hear()
    assert (refused["event"], refused["data"]["code"], refused.get("channel")) == ("pusher:error", 4301, channel)
    assert says in refused["data"]["message"]
    await other.hears_nothing()


async def test_client_events_are_off_by_default_and_have_a_rate(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP, "2:on:s"), pusher_client_events=("2=true",))
    off = await enter(server)
    await off.subscribe("private-x")
    await off.say("client-x", {}, channel="private-x")
    assert "are off" in (await off.hear())["data"]["message"]
    sender, listener = await enter(server, "on"), await enter(server, "on")
    for client in (sender, listener):
        await client.subscribe("private-x", key="on", secret="s")
    for number in range(60):
        await sender.say("client-x", number, channel="private-x")
    await sender.say("pusher:ping")
    refused = await sender.hear()
    assert "more than 10 client events" in refused["data"]["message"]
    assert (await sender.hear())["event"] == "pusher:pong"
    heard = [(await listener.hear())["data"] for _ in range(10)]
    assert heard == list(range(10))


async def test_sign_in_opens_the_channel_of_the_user(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    client = await enter(server)
    assert (await client.subscribe("#server-to-user-u1"))["data"]["type"] == "AuthError"
    await client.sign_in("u1", user_info={"name": "A"})
    answer = await client.hear()
    assert answer["event"] == "pusher:signin_success"
    assert json.loads(answer["data"]["user_data"]) == {"id": "u1", "user_info": {"name": "A"}}
    assert (await client.subscribe("#server-to-user-u1"))["event"] == "pusher_internal:subscription_succeeded"
    assert (await client.subscribe("#server-to-user-u2"))["data"]["type"] == "AuthError"
    # A signed-in user needs no channel_data.
    members = (await client.subscribe("presence-r"))["data"]["presence"]
    assert members == {"count": 1, "ids": ["u1"], "hash": {"u1": {"name": "A"}}}
    await client.sign_in("u1")
    assert (await client.hear())["event"] == "pusher:signin_success"
    await client.sign_in("u2")
    assert (await client.hear())["data"]["code"] == 4009
    assert (await client.end())[0] == 4009


@pytest.mark.parametrize("change", [{"auth": "x"}, {"user_data": "{}"}, {"user_data": None}])
async def test_a_bad_sign_in_closes(serve: Serve, enter: Enter, change: dict[str, object]) -> None:
    client = await enter(await serve(pusher_apps=(APP,)))
    await client.say("pusher:signin", {"auth": signature(f"{client.id}::user::{{}}"), "user_data": "{}", **change})
    assert (await client.hear())["event"] == "pusher:error"
    assert (await client.end())[0] == 4009


async def test_the_connections_of_a_signed_in_user_are_closed(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP, "2:other:s"))
    first, second, other = await enter(server), await enter(server), await enter(server, "other")
    await first.sign_in("u1")
    await first.hear()
    await second.subscribe("presence-r", member={"user_id": "u1"})
    await server.assembly.cluster.disconnect("4711", "u1")  # type: ignore[union-attr]
    assert (await first.hear())["data"]["code"] == 4009
    assert (await first.end())[0] == 4009
    await second.hears_nothing()
    await other.hears_nothing()


async def test_who_does_not_prove_who_it_is_in_time_is_closed(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), pusher_auth_timeout=("1",))
    stays, goes, signed = await enter(server), await enter(server), await enter(server)
    await stays.subscribe("private-x")
    await signed.sign_in("u")
    await signed.hear()
    await goes.subscribe("orders")
    assert (await goes.hear())["data"]["code"] == 4009
    assert (await goes.end())[0] == 4009
    await stays.hears_nothing()
    await signed.hears_nothing()


async def test_other_dialects_hear_pusher_clients_and_need_a_token(serve: Serve, enter: Enter, join: Join) -> None:
    server = await serve(
        pusher_apps=(APP, "2:shared:s"),
        pusher_namespace=("2=shared",),
        pusher_client_events=("true",),
        allow_anonymous=True,
    )
    listener = await join(server)
    for channel in ("pusher:4711:orders", "private-x", "presence-r"):
        refused = await listener.ask({"action": "subscribe", "channel": channel})
        assert refused["code"] == "forbidden", channel
    await listener.ask({"action": "subscribe", "channel": "logs:thread-1"})
    client = await enter(server, "shared")
    assert (await client.subscribe("logs:thread-1"))["data"] == {}
    assert (await client.subscribe("user:u1"))["data"]["type"] == "Forbidden"
    await listener.say({"action": "send", "channel": "logs:thread-1", "event": "e", "data": "hi"})
    assert await client.hear() == {"event": "e", "channel": "logs:thread-1", "data": '"hi"'}


async def test_one_connection_as_endpoints_see_it(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    client, other = await enter(server), await enter(server)
    await client.sign_in("u1")
    await client.hear()
    for each in (client, other):
        await each.subscribe("c")
    direct = {"connectionId": client.id, "event": "e", "data": 1}
    assert await broadcast(server, direct) == {"sent": 1, "failed": 0, "stale": 0}
    assert await client.hear() == {"event": "e", "data": "1"}
    await broadcast(server, {"channel": "pusher:4711:c", "event": "e", "exclude": [client.id]})
    assert (await other.hear())["event"] == "e"
    await client.hears_nothing()
    headers = {"Authorization": f"Bearer {BROADCAST_KEY}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as web:
        found = (await web.get(f"/connections/{client.id}")).json()
        assert (found["id"], found["user"], found["dialect"], found["codec"], found["channels"]) == (
            *(client.id, "u1", "pusher", "json", ["pusher:4711:c"]),
        )
        assert (await web.delete(f"/connections/{client.id}")).status_code == 204
    assert (await client.end())[0] == 1000


async def test_closes_of_the_server_have_codes_of_pusher(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), message_burst=1, message_rate=1.0)
    client = await enter(server)
    await client.socket.send("x")
    for _ in range(150):
        await client.say("pusher:ping")
    codes = []
    while not codes or codes[-1] != 4100:
        codes.append((await client.hear())["data"]["code"])
    assert set(codes) == {None, 4301, 4100}
    assert (await client.end())[0] == 4100


async def test_an_app_has_a_maximum_of_connections(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP, "2:other:s"), pusher_max_connections=("4711=1",))
    first = await enter(server)
    second = await enter(server, greets=False)
    assert (await second.hear())["data"]["code"] == 4100
    assert (await second.end())[0] == 4100
    await enter(server, "other")
    await first.socket.close()
    await enter(server)


async def test_what_pusher_clients_do_is_counted(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), pusher_client_events=("true",), max_channels_per_connection=1)
    client = await enter(server)
    await client.subscribe("private-x", key="unknown")
    await client.subscribe("private-x")
    await client.subscribe("private-y")
    await client.say("client-x", {}, channel="private-x")
    await client.say("client-x", {}, channel="orders")
    await client.hear()
    async with httpx.AsyncClient() as web:
        metrics = (await web.get(f"http://127.0.0.1:{server.port}/metrics")).text
    for line in (
        'fastws_pusher_connections{app="4711"} 1.0',
        'fastws_pusher_client_events_total{result="ok"} 1.0',
        'fastws_pusher_client_events_total{result="channel"} 1.0',
        'fastws_pusher_subscriptions_refused_total{type="AuthError"} 1.0',
        'fastws_pusher_subscriptions_refused_total{type="LimitReached"} 1.0',
        'fastws_connections{codec="json",dialect="pusher"} 1.0',
    ):
        assert line in metrics, line


async def test_a_stop_closes_with_4100(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), drain_timeout=0.1)
    client = await enter(server)
    await server.stop()
    assert (await client.hear())["data"]["code"] == 4100
    assert (await client.end())[0] == 4100


async def test_a_mount_of_ones_own(serve: Serve, enter: Enter, join: Join) -> None:
    server = await serve(pusher_apps=(APP,), mounts=("/x/app=pusher", "/app=none"))
    client = await join(server, f"/x/app/{KEY}", greets=False)
    assert (await client.hear())["event"] == "pusher:connection_established"
    with pytest.raises(Exception, match="404"):
        await enter(server)


async def test_without_an_app_there_is_no_such_path(serve: Serve, enter: Enter) -> None:
    with pytest.raises(Exception, match="404"):
        await enter(await serve())
