"""Pusher clients in numbers: many members, ten thousand channels, floods, ids that look like others'."""

from __future__ import annotations

import json

import pytest

from fastws.access.pusher_signatures import sign
from tests.end_to_end.pusher_client import APP, KEY, SECRET, Enter, decoded, enter
from tests.serving import Join, Serve

__all__ = ["enter"]


async def test_many_members_come_and_go(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    watcher = await enter(server)
    await watcher.subscribe("presence-r", member={"user_id": "watcher"})
    clients = [await enter(server) for _ in range(40)]
    for number, client in enumerate(clients):
        joined = await client.subscribe("presence-r", member={"user_id": number})
        assert joined["data"]["presence"]["count"] == number + 2
    heard = [decoded(await watcher.hear())["data"]["user_id"] for _ in clients]
    assert heard == list(range(40))
    for client in clients:
        # Not a close with a handshake: that waits until the client has read all notices.
        client.socket.transport.abort()
    heard = [decoded(await watcher.hear())["data"]["user_id"] for _ in clients]
    assert sorted(heard) == list(range(40))
    await watcher.hears_nothing()


async def test_ten_thousand_channels(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), max_channels_per_connection=1000)
    for start in range(0, 10_000, 1000):
        client = await enter(server)
        names = [f"c{number}" for number in range(start, start + 1000)]
        for name in names:
            await client.say("pusher:subscribe", {"channel": name})
        assert [(await client.hear())["channel"] for _ in names] == names
    refused = await client.subscribe("one-more")
    assert (refused["data"]["type"], refused["data"]["status"]) == ("LimitReached", 4100)


async def test_a_flood_of_client_events_gets_one_error_a_second(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,), pusher_client_events=("true",))
    sender = await enter(server)
    await sender.subscribe("private-x")
    flood = json.dumps({"event": "client-x", "channel": "private-x", "data": "x" * 100})
    for _ in range(3000):
        await sender.socket.send(flood)
    await sender.say("pusher:ping")
    errors = 0
    while (message := await sender.hear())["event"] != "pusher:pong":
        assert message["data"]["code"] == 4301
        errors += 1
    assert 1 <= errors <= 10


@pytest.mark.parametrize("user", ["__proto__", "constructor", "u1 ", "u1\u200b", "*", "{sub}", "4711:u1", "a:b"])
async def test_ids_that_look_like_others(serve: Serve, enter: Enter, user: str) -> None:
    server = await serve(pusher_apps=(APP,))
    first, second = await enter(server), await enter(server)
    await first.sign_in("u1")
    await first.hear()
    await second.subscribe("presence-r", member={"user_id": "u1"})
    await second.sign_in(user)
    answer = await second.hear()
    if answer["event"] == "pusher:signin_success":
        refused = await second.subscribe("#server-to-user-u1")
        assert refused["data"]["type"] == "AuthError"
        await server.assembly.cluster.disconnect("4711", user)  # type: ignore[union-attr]
    assert (await second.hear() if answer["event"] != "pusher:error" else answer)["data"]["code"] == 4009
    await first.hears_nothing()


async def test_a_signature_is_of_one_connection(serve: Serve, enter: Enter, join: Join) -> None:
    server = await serve(pusher_apps=(APP,))
    victim, thief = await enter(server), await enter(server)
    stolen = victim.signed("private-x")
    await thief.say("pusher:subscribe", stolen)
    assert decoded(await thief.hear())["data"]["status"] == 401
    # No part of the signed text can be taken for another.
    for name, text in (
        ("private-x", f"{thief.id}:private-x:{{}}"),
        ("presence-x", f"{thief.id}::user::{{}}"),
        ("private-a", f"{thief.id}:presence-a"),
    ):
        await thief.say("pusher:subscribe", {"channel": name, "auth": f"{KEY}:{sign(SECRET, text)}"})
        assert decoded(await thief.hear())["data"]["status"] == 401, name
    # Nor is a sign-in.
    text = '{"id":"u1"}'
    signed = f"{KEY}:{sign(SECRET, f'{victim.id}::user::{text}')}"
    await thief.say("pusher:signin", {"auth": signed, "user_data": text})
    assert decoded(await thief.hear())["data"]["code"] == 4009
    thief = await enter(server)
    # A signature covers the member's data as it was signed.
    own, other = ('{"user_id":"u1"}', '{"user_id":"u2"}')
    for text in (f"{thief.id}:presence-x:{own}", f"{thief.id}:presence-x"):
        member = {"channel": "presence-x", "auth": f"{KEY}:{sign(SECRET, text)}", "channel_data": other}
        await thief.say("pusher:subscribe", member)
        assert decoded(await thief.hear())["data"]["status"] == 401, text
