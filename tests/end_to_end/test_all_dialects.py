"""Publications of each dialect and backend arrive in all others, in their own format, in both codecs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from fastws.server.server import Server
from tests.serving import KEY, Join, Message, Serve, Talker

CODECS = ("json", "msgpack")
DATA = {"a": 1, "b": [None, True, "ü"], "status": "done", "job_id": "j1"}


async def channels_client(server: Server, join: Join, codec: str, channel: str) -> Talker:
    token = server.tokens.sign("u1", channels=["**"], publish=["**"])
    client = await join(server, "/", token=token, format=codec)
    await client.ask({"action": "subscribe", "channel": channel})
    return client


async def rooms_client(server: Server, join: Join, codec: str, channel: str) -> Talker:
    client = await join(server, "/api/v1/ws", token=server.tokens.sign("u1", channels=["**"]), format=codec)
    await client.ask({"type": "subscribe", "room_id": channel})
    return client


async def workspaces_client(server: Server, join: Join, codec: str, channel: str) -> Talker:
    workspace = channel.partition(":")[2]
    return await join(server, "/ws", token=server.tokens.sign("u1", workspaces=[workspace]), format=codec)


async def jobs_client(server: Server, join: Join, codec: str, channel: str) -> Talker:
    client = await join(server, "/ws", greets=False, format=codec)
    await client.ask({"type": "ping"})  # it gets no greeting; the reply shows that it is connected
    return client


def in_channels(channel: str, sender: str | None) -> Message:
    return {"channel": channel, "event": "e", "data": DATA} | ({} if sender is None else {"from": sender})


def in_rooms(channel: str, sender: str | None) -> Message:
    kinds = {"execution": "execution_update", "workflow": "workflow_update", "user": "notification"}
    return {"type": kinds.get(channel.partition(":")[0], "message"), "event": "e", "data": DATA}


def in_workspaces(channel: str, sender: str | None) -> Message:
    return {"event": "e", "data": DATA}


def in_jobs(channel: str, sender: str | None) -> Message:
    return {"type": "job_update", "job_id": "j1", "status": "done", "data": DATA}


Listen = Callable[[Server, Join, str, str], Awaitable[Talker]]
LISTENERS: dict[str, tuple[Listen, Callable[[str, str | None], Message]]] = {
    "channels": (channels_client, in_channels),
    "rooms": (rooms_client, in_rooms),
    "workspaces": (workspaces_client, in_workspaces),
    "jobs": (jobs_client, in_jobs),
}


async def by_client(server: Server, join: Join, channel: str) -> str | None:
    sender = await join(server, token=server.tokens.sign("u2", channels=["**"], publish=["**"]))
    reply = await sender.ask({"action": "send", "channel": channel, "event": "e", "data": DATA})
    assert (reply["sent"], reply["failed"]) == (2, 0), reply
    return sender.id


async def by_msgpack_client(server: Server, join: Join, channel: str) -> str | None:
    token = server.tokens.sign("u2", channels=["**"], publish=["**"])
    sender = await join(server, token=token, format="msgpack")
    reply = await sender.ask({"action": "send", "channel": channel, "event": "e", "data": DATA})
    assert (reply["sent"], reply["failed"]) == (2, 0), reply
    return sender.id


async def by_post(server: Server, join: Join, channel: str) -> str | None:
    url = f"http://127.0.0.1:{server.port}/broadcast"
    body = {"channel": channel, "event": "e", "data": DATA}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as answer:
        assert await answer.json() == {"sent": 2, "failed": 0, "stale": 0}
    return None


async def in_process(server: Server, join: Join, channel: str) -> str | None:
    await server.broadcaster.publish(channel, "e", DATA)
    return None


PUBLISHERS = {"client": by_client, "msgpack client": by_msgpack_client, "post": by_post, "in process": in_process}
CHANNELS = {
    "channels": "news",
    "rooms": "execution:1",
    "workspaces": "workspace:w1",
    "jobs": "botrix:jobs:updates",
}


# Sending to the jobs feed is for backends.
PAIRS = [(p, d) for p in PUBLISHERS for d in LISTENERS if not (d == "jobs" and p.endswith("client"))]


@pytest.mark.parametrize(("publisher", "dialect"), PAIRS)
async def test_every_dialect_gets_every_publication_in_its_own_format(
    serve: Serve, join: Join, publisher: str, dialect: str
) -> None:
    server = await serve()
    channel = CHANNELS[dialect]
    listen, words = LISTENERS[dialect]
    listeners = [await listen(server, join, codec, channel) for codec in CODECS]
    sender = await PUBLISHERS[publisher](server, join, channel)
    for listener in listeners:
        heard = await listener.hear()
        for volatile in ("timestamp", "seq"):
            heard.pop(volatile, None)
        assert heard == words(channel, sender)


async def test_one_publication_reaches_all_dialects_that_can_subscribe_to_its_channel(serve: Serve, join: Join) -> None:
    server = await serve()
    channel = "workspace:w1"
    heard: dict[tuple[str, str], Message] = {}
    listeners = {}
    for name in ("channels", "rooms", "workspaces"):
        for codec in CODECS:
            listeners[name, codec] = await LISTENERS[name][0](server, join, codec, channel)
    await server.broadcaster.publish(channel, "e", DATA, type="special", priority="high")
    for key, listener in listeners.items():
        heard[key] = await listener.hear()
        heard[key].pop("timestamp", None)
    for codec in CODECS:
        assert heard["channels", codec] == {"channel": channel, "event": "e", "data": DATA}
        assert heard["rooms", codec] == {"type": "special", "event": "e", "data": DATA}
        assert heard["workspaces", codec] == {"event": "e", "data": DATA, "priority": "high"}


async def test_types_that_json_lacks_are_mapped_from_msgpack(serve: Serve, join: Join) -> None:
    server = await serve()
    sender, json_client = await join(server, format="msgpack"), await join(server)
    msgpack_client = await join(server, format="msgpack")
    for client in (json_client, msgpack_client):
        await client.ask({"action": "subscribe", "channel": "a"})
    data: dict[str, Any] = {"bytes": b"\x00\xff", "float": 1.5, "big": 2**64 - 1}
    assert (await sender.ask({"action": "send", "channel": "a", "event": "e", "data": data}))["sent"] == 2
    assert (await msgpack_client.hear())["data"] == data
    assert (await json_client.hear())["data"] == {**data, "bytes": "AP8="}
