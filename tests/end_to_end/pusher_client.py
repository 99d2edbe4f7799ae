"""A client that speaks Pusher's protocol over the `websockets` package, signs as a backend would, and hides nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from tests.serving import PATIENCE_SECONDS, Message

KEY, SECRET = "app-key", "app-secret"
APP = f"4711:{KEY}:{SECRET}"


def signature(text: str, *, key: str = KEY, secret: str = SECRET) -> str:
    return f"{key}:{hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}"


class PusherClient:
    """One connection. `data` of what it hears is decoded where it is text that holds JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.id = ""

    async def say(self, event: str, data: Any = None, **more: Any) -> None:
        await self.socket.send(json.dumps({"event": event, "data": {} if data is None else data, **more}))

    async def hear(self) -> Message:
        """The next message as it came."""
        message: Message = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_SECONDS))
        return message

    async def subscribe(self, channel: str, *, member: Any = None, **options: Any) -> Message:
        """Subscribe, signed as the channel needs it, and return the answer with decoded data."""
        await self.say("pusher:subscribe", self.signed(channel, member=member, **options))
        return decoded(await self.hear())

    def signed(self, channel: str, *, member: Any = None, **options: Any) -> Message:
        data: Message = {"channel": channel}
        text = f"{self.id}:{channel}"
        if member is not None:
            data["channel_data"] = json.dumps(member)
            text += f":{data['channel_data']}"
        if channel.startswith(("private-", "presence-")):
            data["auth"] = signature(text, **options)
        return data

    async def sign_in(self, user: Any, **options: Any) -> None:
        text = json.dumps({"id": user, **options})
        await self.say("pusher:signin", {"auth": signature(f"{self.id}::user::{text}"), "user_data": text})

    async def hears_nothing(self) -> None:
        """Whatever was on its way would come before the answer to a ping."""
        await self.say("pusher:ping")
        assert await self.hear() == {"event": "pusher:pong", "data": "{}"}

    async def end(self) -> tuple[int | None, str | None]:
        await asyncio.wait_for(self.socket.wait_closed(), PATIENCE_SECONDS)
        return self.socket.close_code, self.socket.close_reason


def decoded(message: Message) -> Message:
    data = message.get("data")
    return {**message, "data": json.loads(data)} if isinstance(data, str) else message


Enter = Callable[..., Awaitable[PusherClient]]


@pytest_asyncio.fixture
async def enter() -> AsyncIterator[Enter]:
    """Connects clients: `await enter(server)`. What greets them is heard already unless `greets` is false."""
    async with AsyncExitStack() as stack:

        async def open_one(server: Any, key: str = KEY, *, query: str = "protocol=7", greets: bool = True) -> Any:
            address = f"ws://127.0.0.1:{server.port}/app/{key}?{query}"
            opening = connect(address, proxy=None, compression=None, open_timeout=PATIENCE_SECONDS)
            client = PusherClient(await stack.enter_async_context(opening))
            if greets:
                client.id = decoded(await client.hear())["data"]["socket_id"]
            return client

        yield open_one
