"""Who is in a channel: questions and updates in all dialects, on a real server."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt
import pytest

from fastws.server.server import Server
from tests.serving import KEY, SECRET, Join, Message, OpenRaw, Serve, Talker

PRESENCE = {"presence": ("plain=off", "counted=count", "**"), "presence_updates": ("quiet=off", "**=0")}


def token(user: str = "u1", **claims: object) -> str:
    given = {"sub": user, "exp": time.time() + 600, "workspace_id": "w1", "channels": ["**"], **claims}
    return jwt.encode(given, SECRET, "HS256")


def who(client: Talker, user: str = "u1", **more: object) -> Message:
    """The member that this client is."""
    return {"connection_id": client.id, "user": user, **more}


async def get(server: Server, path: str, **query: Any) -> httpx.Response:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{server.port}{path}", params=query)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_subscribers_are_told_who_comes_and_who_goes(serve: Serve, join: Join, codec: str) -> None:
    server = await serve(**PRESENCE)
    first = await join(server, token=token("u1", info={"name": "Ann"}), format=codec)
    await first.ask({"action": "subscribe", "channel": "c"})
    told = {"type": "presence_update", "channel": "c", "left": [], "count": 1, "users": 1}
    assert await first.hear() == {**told, "joined": [who(first, info={"name": "Ann"})]}
    second = await join(server, token=token("u2"))
    await second.ask({"action": "subscribe", "channel": "c"})
    assert await first.hear() == {**told, "joined": [who(second, "u2")], "count": 2, "users": 2}
    assert await second.hear() == {**told, "joined": [who(second, "u2")], "count": 2, "users": 2}
    answer = await first.ask({"action": "presence", "channel": "c", "id": 7})
    members = sorted([who(first, info={"name": "Ann"}), who(second, "u2")], key=lambda one: str(one["connection_id"]))
    assert answer == {
        "type": "presence",
        "channel": "c",
        "count": 2,
        "users": 2,
        "members": members,
        "cursor": None,
        "id": 7,
    }
    await second.socket.close()
    assert await first.hear() == {**told, "joined": [], "left": [who(second, "u2")]}
    await first.ask({"action": "unsubscribe", "channel": "c"})
    await first.hears_nothing()
    assert (await first.ask({"action": "presence", "channel": "c"}))["members"] == []


async def test_connections_of_one_user_and_those_without_a_token(serve: Serve, join: Join) -> None:
    server = await serve(presence=("**",), allow_anonymous=True)
    clients = [await join(server, token=token()), await join(server, token=token()), await join(server)]
    for client in clients:
        await client.ask({"action": "subscribe", "channel": "c"})
    answer = await clients[2].ask({"action": "presence", "channel": "c"})
    assert (answer["count"], answer["users"]) == (3, 1)
    assert [one["connection_id"] for one in answer["members"]] == sorted(client.id for client in clients[:2])


async def test_members_come_page_by_page(serve: Serve, join: Join) -> None:
    server = await serve(presence=("**",))
    clients = [await join(server, token=token()) for _ in range(3)]
    for client in clients:
        await client.ask({"action": "subscribe", "channel": "c"})
    asked: Message = {"action": "presence", "channel": "c", "limit": 2}
    first = await clients[0].ask(asked)
    rest = await clients[0].ask({**asked, "cursor": first["cursor"]})
    assert rest["cursor"] is None
    found = [one["connection_id"] for one in [*first["members"], *rest["members"]]]
    assert found == sorted(client.id for client in clients)
    assert (await get(server, "/channels/c/presence", limit=2)).json() == {
        key: value for key, value in first.items() if key != "type"
    }


async def test_counted_channels_tell_figures_only(serve: Serve, join: Join) -> None:
    server = await serve(**PRESENCE)
    client = await join(server, token=token())
    await client.ask({"action": "subscribe", "channel": "counted"})
    figures = {"channel": "counted", "count": 1, "users": 1}
    assert await client.hear() == {"type": "presence_update", **figures}
    assert await client.ask({"action": "presence", "channel": "counted"}) == {"type": "presence", **figures}
    assert (await get(server, "/channels/counted/presence")).json() == figures


async def test_who_may_subscribe_may_ask_without_being_subscribed(serve: Serve, join: Join) -> None:
    server = await serve(**PRESENCE)
    inside, outside = await join(server, token=token()), await join(server, token=token("u2", channels=["other"]))
    await inside.ask({"action": "subscribe", "channel": "other"})
    assert (await outside.ask({"action": "presence", "channel": "other"}))["count"] == 1
    assert (await outside.ask({"action": "presence", "channel": "c"}))["code"] == "forbidden"
    await outside.hears_nothing()


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"limit": True}, {"cursor": 1}, {"channel": "plain"}])
async def test_wrong_questions_are_refused(serve: Serve, join: Join, wrong: Message) -> None:
    client = await join(await serve(**PRESENCE))
    answer = await client.ask({"action": "presence", "channel": "c", **wrong})
    assert answer["code"] == "bad_request"


async def test_without_the_setting_there_is_no_presence(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    answer = await client.ask({"action": "presence", "channel": "c"})
    assert (answer["code"], "presence" in answer["message"]) == ("bad_request", True)
    assert (await get(server, "/channels/c/presence")).status_code == 400
    assert server.hub.presence is None


async def test_a_channel_without_updates_is_silent(serve: Serve, join: Join) -> None:
    client = await join(await serve(**PRESENCE))
    await client.ask({"action": "subscribe", "channel": "quiet"})
    await client.hears_nothing()
    assert (await client.ask({"action": "presence", "channel": "quiet"}))["count"] == 1


async def test_rooms_have_presence(serve: Serve, join: Join) -> None:
    server = await serve(presence=("execution:*",), presence_updates=("0",))
    client = await join(server, "/api/v1/ws", token=token())
    await client.ask({"type": "subscribe", "room_id": "execution:1"})
    update, answer = await client.hear(), await client.ask({"type": "presence", "room_id": "execution:1"})
    assert isinstance(update.pop("timestamp"), str)
    assert isinstance(answer.pop("timestamp"), str)
    figures = {"type": "presence", "room_id": "execution:1", "count": 1, "users": 1}
    assert update == {**figures, "event": "update", "joined": [who(client)], "left": []}
    assert answer == {**figures, "event": "members", "members": [who(client)], "cursor": None}


async def test_workspaces_have_presence_whatever_the_filter(serve: Serve, join: Join) -> None:
    server = await serve(presence=("workspace:**",), presence_updates=("0",))
    client = await join(server, "/ws", token=token(), workspace_id="w1", event_types="alert")
    update, answer = await client.hear(), await client.ask({"type": "presence"})
    assert isinstance(update.pop("timestamp"), str)
    assert isinstance(answer.pop("timestamp"), str)
    assert update == {"event": "presence_update", "joined": [who(client)], "left": [], "count": 1, "users": 1}
    assert answer == {"event": "presence", "members": [who(client)], "cursor": None, "count": 1, "users": 1}
    await client.ask({"type": "subscribe", "event_types": ["other"]})
    await client.hears_nothing()


async def test_the_feed_of_jobs_has_presence(serve: Serve, join: Join) -> None:
    server = await serve(presence=("botrix:**",), presence_updates=("0",))
    client = await join(server, "/ws/", greets=False)
    assert await client.hear() == {"type": "presence_update", "joined": [], "left": [], "count": 1, "users": 0}
    figures = {"count": 1, "users": 0}
    assert await client.ask({"type": "presence"}) == {"type": "presence", "members": [], "cursor": None, **figures}


async def test_presence_over_http(serve: Serve, join: Join) -> None:
    server = await serve(**PRESENCE)
    client = await join(server, token=token(info="x"))
    for name in ("a/b", "plain"):
        await client.ask({"action": "subscribe", "channel": name})
    answer = await get(server, "/channels/a%2Fb/presence")
    figures = {"count": 1, "users": 1}
    assert answer.json() == {"channel": "a/b", **figures, "members": [who(client, info="x")], "cursor": None}
    assert (await get(server, "/channels/a%2Fb/presence", count="true")).json() == {"channel": "a/b", **figures}
    assert (await get(server, "/channels/empty/presence")).json()["count"] == 0
    assert (await get(server, "/channels")).json()["channels"] == [
        {"channel": "a/b", "subscribers": 1, "presence": figures},
        {"channel": "plain", "subscribers": 1},
    ]
    for wrong in ({"count": "1"}, {"limit": "0"}):
        assert (await get(server, "/channels/c/presence", **wrong)).status_code == 400
    assert (await get(server, "/channels/plain/presence")).status_code == 400


async def test_a_client_that_does_not_read_is_cut_off_as_by_publications(
    serve: Serve, join: Join, open_raw: OpenRaw
) -> None:
    server = await serve(**PRESENCE, max_queue_messages=2, max_queue_bytes=20_000)
    slow = await open_raw(server, buffer_bytes=4096)
    await slow.receive()
    await slow.send(1, b'{"action":"subscribe","channel":"c"}')
    await slow.receive()
    restless = await join(server, token=token(info="x" * 1000))
    while server.roster.kinds != {("channels", "json"): 1}:
        for action, reply in (("subscribe", "subscription_succeeded"), ("unsubscribe", "unsubscribe_succeeded")):
            await restless.say({"action": action, "channel": "c"})
            while (await restless.hear())["type"] != reply:
                pass
    assert server.counters.slow_consumers["disconnect"] == 1


async def test_metrics_count_members_and_updates(serve: Serve, join: Join) -> None:
    server = await serve(**PRESENCE)
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "c"})
    await client.hear()
    text = (await get(server, "/metrics")).text
    assert "fastws_presence_members 1.0" in text
    assert "fastws_presence_updates_total 1.0" in text
