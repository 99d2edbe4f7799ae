"""One client of each dialect and codec, with its gap notice and its form of a publication."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from fastws.server.server import Server
from tests.serving import KEY, PATIENCE_SECONDS, Join, Message, Talker

Publish = Callable[[str, str, object], Awaitable[httpx.Response]]

TOKEN = {"channels": ["**"], "publish": ["**"], "workspaces": ["w1"]}


@dataclass(frozen=True)
class Ear:
    """A client of `dialect` that is subscribed to `channel`."""

    dialect: str
    channel: str
    gap: Message
    client: Talker

    async def hears(self, number: int) -> Message:
        """The next message, which carries `number`."""
        message = await self.client.hear()
        assert message["data"]["number"] == number, message
        return message

    async def is_served(self) -> None:
        """Check that it is connected and gets replies, and that nothing else has arrived."""
        await self.client.hears_nothing()


# dialect: path, channel, subscription (None: it has the channel without one), gap notice
_WAYS: dict[str, tuple[str, str, Message | None, Message]] = {
    "channels": (
        "/",
        "news",
        {"action": "subscribe", "channel": "news"},
        {"type": "gap", "channel": "news"},
    ),
    "rooms": (
        "/api/v1/ws",
        "execution:1",
        {"type": "subscribe", "room_id": "execution:1"},
        {"type": "gap", "room_id": "execution:1"},
    ),
    "workspaces": ("/ws", "workspace:w1", None, {"event": "gap", "workspace_id": "w1"}),
    "jobs": ("/ws", "botrix:jobs:updates", None, {"type": "gap"}),
}
DIALECTS = tuple(_WAYS)
CODECS = ("json", "msgpack")


async def listen(server: Server, join: Join, dialect: str, codec: str) -> Ear:
    """A client of `dialect` that is subscribed to its channel."""
    path, channel, request, gap = _WAYS[dialect]
    options: dict[str, Any] = {"format": codec}
    if dialect != "jobs":
        options["token"] = server.tokens.sign("u1", **TOKEN)
    client = await join(server, path, greets=dialect != "jobs", **options)
    if request is not None:
        reply = await client.ask(request)
        assert "subscri" in reply["type"], reply
    ear = Ear(dialect, channel, gap, client)
    await ear.is_served()
    if dialect == "rooms":
        # A member of a room is in its own user's room as well, which has a gap notice of its own.
        await client.ask({"type": "unsubscribe", "room_id": "user:u1"})
    return ear


async def everybody(server: Server, join: Join) -> list[Ear]:
    """A client of every dialect in every codec."""
    return [await listen(server, join, dialect, codec) for dialect in DIALECTS for codec in CODECS]


def body_of(ear: Ear, number: int) -> dict[str, object]:
    """The body of a broadcast that reaches this client and carries `number`."""
    if ear.dialect == "jobs":
        data: dict[str, object] = {"job_id": "j1", "status": "running", "number": number}
        return {"channel": ear.channel, "event": "job_update", "data": data}
    return {"channel": ear.channel, "event": "e", "data": {"number": number}}


async def post(server: Server, body: object) -> httpx.Response:
    """POST /broadcast."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        return await client.post(
            f"http://127.0.0.1:{server.port}/broadcast", json=body, headers={"Authorization": f"Bearer {KEY}"}
        )


async def get(server: Server, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        return await client.get(f"http://127.0.0.1:{server.port}{path}")


async def metric(server: Server, name: str) -> float:
    """The value of a figure without labels."""
    lines = (await get(server, "/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def until(is_so: Callable[[], Awaitable[object]]) -> None:
    """Until `is_so` returns something true, asked again every 10 ms."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await is_so():
            await asyncio.sleep(0.01)
