"""Client ids on a real server: a mailbox that outlives the connection, in every dialect."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import jwt
import pytest
from websockets.exceptions import InvalidStatus

from fastws.server.server import Server
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, SECRET, Join, Message, Serve

HISTORY = {"history": ("client:**=10/60",)}
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
# path, whether its clients need a token
PATHS = [("/", False), ("/", True), ("/api/v1/ws", True), ("/ws", True), ("/ws", False)]


def token(**claims: object) -> str:
    given = {"sub": "ada", "exp": time.time() + 600, "workspace_id": "w1", **claims}
    return jwt.encode(given, SECRET, "HS256")


async def publish(server: Server, channel: str, *events: str) -> None:
    async with httpx.AsyncClient(headers=AUTHORIZED, trust_env=False) as client:
        for event in events:
            body = {"channel": channel, "event": event, "data": event}
            answer = await client.post(f"http://127.0.0.1:{server.port}/broadcast", json=body)
            assert answer.status_code == 200


def credentials(*, needs_token: bool) -> dict[str, str]:
    return {"token": token()} if needs_token else {}


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize(("path", "needs_token"), PATHS)
async def test_a_client_that_returns_hears_what_was_sent_to_it_meanwhile(
    serve: Serve, join: Join, path: str, *, needs_token: bool, codec: str
) -> None:
    server = await serve(**HISTORY)
    query = {"client_id": "phone", **credentials(needs_token=needs_token)}
    mailbox = "client:ada:phone" if needs_token else "client:phone"
    first = await join(server, path, greets=False, format=codec, **query)
    standing = (await first.hear())["client"]
    assert standing == {"channel": mailbox, "offset": 0, "epoch": standing["epoch"]}
    await publish(server, mailbox, "one")
    heard = await first.hear()
    assert (heard["channel"], heard["offset"], heard["data"]) == (mailbox, 1, "one")
    await first.socket.close()
    await publish(server, mailbox, "two", "three")
    position = {"client_offset": "1", "client_epoch": standing["epoch"]}
    again = await join(server, path, greets=False, format=codec, **query, **position)
    assert (await again.hear())["client"] == {**standing, "offset": 3, "recovered": True, "replayed": 2}
    await publish(server, mailbox, "four")
    numbers = [(heard["channel"], heard["offset"]) for heard in [await again.hear() for _ in range(3)]]
    assert numbers == [(mailbox, 2), (mailbox, 3), (mailbox, 4)]
    last = await join(server, path, greets=False, format=codec, **query, client_replay="1")
    assert (await last.hear())["client"] == {**standing, "offset": 4, "replayed": 1}
    assert (await last.hear())["data"] == "four"
    # Two connections of one id hear both.
    await publish(server, mailbox, "five")
    assert [(await client.hear())["data"] for client in (again, last)] == ["five", "five"]


async def test_without_history_the_greeting_names_only_the_channel(serve: Serve, join: Join) -> None:
    server = await serve()
    for path, needs_token in PATHS:
        query = {"client_id": "phone", "client_replay": "3", **credentials(needs_token=needs_token)}
        client = await join(server, path, greets=False, **query)
        mailbox = "client:ada:phone" if needs_token else "client:phone"
        assert (await client.hear())["client"] == {"channel": mailbox}
        await publish(server, mailbox, "mail")
        assert (await client.hear())["channel"] == mailbox


async def refusal(join: Join, server: Server, **query: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        await join(server, greets=False, **query)
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]["message"]


async def test_an_invalid_id_is_400_and_a_token_for_another_client_403(serve: Serve, join: Join) -> None:
    server = await serve()
    status, text = await refusal(join, server, client_id="a:b")
    assert (status, "`client_id` must be 1 to 128 characters" in text) == (400, True)
    status, text = await refusal(join, server, client_id="phone", client_offset="1")
    assert (status, "client_epoch" in text) == (400, True)
    status, text = await refusal(join, server, client_id="phone", token=token(client_id="laptop"))
    assert (status, "its claim `client_id` and `?client_id=` must be the same" in text) == (403, True)
    client = await join(server, client_id="phone", token=token(client_id="phone"))
    assert client.id


@pytest.mark.parametrize("protected", [None, ("other:**",)])
async def test_nobody_joins_or_reads_the_mailbox_of_another(
    serve: Serve, join: Join, protected: tuple[str, ...] | None
) -> None:
    server = await serve(**HISTORY, protected_channels=protected, presence=("**",))
    greedy = token(sub="eve", channels=["**", "client:**"])
    for query in ({}, {"token": greedy}, {"client_id": "phone", "token": greedy}):
        client = await join(server, **query)
        for channel in ("client:phone", "client:ada:phone", "client:eve:tablet"):
            for action in ("subscribe", "history", "presence"):
                assert (await client.ask({"action": action, "channel": channel}))["code"] == "forbidden"
        own = await client.ask({"action": "subscribe", "channel": "client:eve:phone"})
        assert own["type"] == ("subscription_succeeded" if "client_id" in query else "error")


async def test_publishing_to_a_mailbox_takes_the_right_as_for_any_channel(serve: Serve, join: Join) -> None:
    server = await serve()
    owner = await join(server, client_id="phone", token=token())
    message = {"action": "send", "channel": "client:ada:phone", "event": "e"}
    assert (await (await join(server)).ask(message))["code"] == "forbidden"
    assert (await (await join(server, token=token(sub="eve", publish=["room:*"]))).ask(message))["code"] == "forbidden"
    friend = await join(server, token=token(sub="bob", publish=["client:ada:*"]))
    assert (await friend.ask(message))["sent"] == 1
    heard = await owner.hear()
    assert (heard["channel"], heard["from"]) == ("client:ada:phone", friend.id)


async def test_a_client_reads_the_history_of_its_own_mailbox(serve: Serve, join: Join) -> None:
    server = await serve(**HISTORY)
    await publish(server, "client:ada:phone", "one", "two")
    client = await join(server, client_id="phone", token=token())
    page = await client.ask({"action": "history", "channel": "client:ada:phone"})
    assert [message["offset"] for message in page["messages"]] == [1, 2]


async def test_a_refreshed_token_keeps_the_mailbox_and_must_not_be_for_another_client(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, client_id="phone", token=token())
    reply = await client.ask({"action": "refresh", "token": token(client_id="laptop")})
    assert (reply["code"], "claim `client_id`" in reply["message"]) == ("forbidden", True)
    server.services.clock = lambda: time.monotonic() + 10  # a token may be refreshed once a second
    assert (await client.ask({"action": "refresh", "token": token(channels=["other"])}))["type"] == "refreshed"
    await publish(server, "client:ada:phone", "mail")
    assert (await client.hear())["event"] == "mail"


async def connections(server: Server, **query: str) -> list[Message]:
    async with httpx.AsyncClient(headers=AUTHORIZED, trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/connections", params=query)
    found: list[Any] = answer.json()["connections"]
    return found


async def test_connections_are_found_by_client_id(serve: Serve, join: Join) -> None:
    server = await serve()
    ada = [await join(server, client_id="phone", token=token()) for _ in range(2)]
    bob = await join(server, client_id="phone", token=token(sub="bob"))
    tab = await join(server, client_id="tab")
    await join(server)
    found = await connections(server, client_id="phone")
    assert {each["id"] for each in found} == {ada[0].id, ada[1].id, bob.id}
    assert {each["client_id"] for each in found} == {"phone"}
    assert [each["id"] for each in await connections(server, client_id="phone", user="bob")] == [bob.id]
    assert [each["channels"] for each in await connections(server, client_id="tab")] == [["client:tab"]]
    assert await connections(server, client_id="nobody") == []
    assert len([each for each in await connections(server) if "client_id" in each]) == 4
    await tab.socket.close()
    while server.roster.by_client_id.count("tab"):
        await bob.ask({"action": "ping"})
    assert await connections(server, client_id="tab") == []


async def test_presence_names_the_client_id_of_a_user(serve: Serve, join: Join) -> None:
    server = await serve(presence=("**",))
    client = await join(server, client_id="phone", token=token(channels=["room"]))
    await client.ask({"action": "subscribe", "channel": "room"})
    [member] = (await client.ask({"action": "presence", "channel": "room"}))["members"]
    assert (member["user"], member["client_id"]) == ("ada", "phone")


async def test_a_mailbox_is_the_same_on_every_server_of_one_redis(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    a, b = [await serve(**HISTORY, redis_url=redis_server.url) for _ in range(2)]
    query = {"client_id": "phone", "token": token()}
    first = await join(a, "/ws", greets=False, **query)
    standing = (await first.hear())["client"]
    await publish(b, "client:ada:phone", "one")
    assert (await first.hear())["offset"] == 1
    await first.socket.close()
    await publish(a, "client:ada:phone", "two")
    position = {"client_offset": "1", "client_epoch": standing["epoch"]}
    again = await join(b, "/ws", greets=False, **query, **position)
    assert (await again.hear())["client"] == {**standing, "offset": 2, "recovered": True, "replayed": 1}
    await publish(a, "client:ada:phone", "three")
    assert [(heard["offset"], heard["data"]) for heard in [await again.hear() for _ in range(2)]] == [
        (2, "two"),
        (3, "three"),
    ]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(await connections(a, client_id="phone")) != 1:
            await asyncio.sleep(0)
    [found] = await connections(a, client_id="phone")
    assert found["client_id"] == "phone"
