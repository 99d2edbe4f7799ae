"""Presence in the Python clients: who is in a channel, and updates, in every dialect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.client import Client, connect
from fastws.client.threaded import ThreadedClient
from fastws.errors import BadRequest
from fastws.server.server import Server
from tests.end_to_end.test_presence import token
from tests.serving import PATIENCE_SECONDS, Message, Serve

PRESENCE: dict[str, Any] = {"presence": ("plain=off", "counted=count", "**"), "presence_updates": ("**=0",)}
# The options of a client, and the name of its channel; None: the one that it is in from the start.
DIALECTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "channels": ({"channels": ["c"]}, "c"),
    "rooms": ({"channels": ["c"]}, "c"),
    "workspaces": ({}, None),
    "jobs": ({}, None),
}


def client_of(server: Server, user: str, dialect: str = "channels", **options: Any) -> Client:
    known = {} if dialect == "jobs" else {"token": token(user)}
    return connect(f"ws://127.0.0.1:{server.port}", dialect=dialect, proxy=None, **known, **options)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_clients_ask_who_is_there_and_are_told_who_comes_and_goes(serve: Serve, dialect: str) -> None:
    server = await serve(**PRESENCE, allow_anonymous=True)
    updates: asyncio.Queue[Message] = asyncio.Queue()
    options, channel = DIALECTS[dialect]

    async def count_of(count: int) -> Message:
        while (update := await asyncio.wait_for(updates.get(), PATIENCE_SECONDS))["count"] != count:
            pass
        return update

    async with client_of(server, "ada", dialect, on_presence=updates.put_nowait, **options) as client:
        await count_of(1)
        async with client_of(server, "bob", dialect, **options) as other:
            came = await count_of(2)
            page = await client.presence(channel)
            first = await client.presence(channel, limit=1)
        gone = await count_of(1)
        assert (await asyncio.wait_for(anext(client), PATIENCE_SECONDS))["count"] in (1, 2)
    users = [] if dialect == "jobs" else ["ada", "bob"]
    assert (page["count"], page["users"], page["cursor"]) == (2, len(users), None)
    assert sorted(member["user"] for member in page["members"]) == users
    if dialect == "jobs":  # which serves clients without a token
        return
    bob = {"connection_id": other.connection_id, "user": "bob"}
    assert (came["joined"], gone["left"]) == ([bob], [bob])
    assert first["members"] == page["members"][:1]
    assert first["cursor"] is not None


async def test_a_threaded_client_asks_the_same(serve: Serve) -> None:
    server = await serve(**PRESENCE)
    updates: list[Message] = []

    def ask() -> tuple[Message, Message]:
        url, options = f"ws://127.0.0.1:{server.port}", {"token": token("ada"), "proxy": None}
        with ThreadedClient(url, ["c", "counted"], on_presence=updates.append, **options) as client:
            page = client.presence("c")
            assert client.presence("c", cursor=page["members"][0]["connection_id"])["members"] == []
            assert client.receive(PATIENCE_SECONDS) in updates
            with pytest.raises(BadRequest):
                client.presence("plain")
            return page, client.presence("counted")

    page, counted = await asyncio.to_thread(ask)
    assert [member["user"] for member in page["members"]] == ["ada"]
    assert counted == {"count": 1, "users": 1}
    assert {update["channel"] for update in updates} == {"c", "counted"}


async def test_an_error_in_on_presence_is_logged_and_the_client_goes_on(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve(**PRESENCE)

    def fail(update: Message) -> None:
        raise ValueError(update)

    async with client_of(server, "ada", channels=["c"], on_presence=fail) as client:
        assert (await asyncio.wait_for(anext(client), PATIENCE_SECONDS))["count"] == 1
    assert "on_presence raised an error" in caplog.text
