"""The URL of a webhook: a server of aiohttp that records what it accepts, and fails or hangs when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

PATIENCE_SECONDS = 30.0


@dataclass
class Receiver:
    """`statuses` are those of the next requests, then 200. While `gate` is not set, requests hang."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes, int]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.under_way += 1
        self.changed.set()
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        status = self.statuses.pop(0) if self.statuses else 200
        self.requests.append((dict(request.headers), body, status))
        self.changed.set()
        return web.Response(status=status, headers={"Location": self.url})

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of all accepted requests, in order."""
        return [event for _, body, status in self.requests if status < 300 for event in orjson.loads(body)["events"]]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Name and channel of all accepted events."""
        return [(event["name"], event["channel"]) for event in self.events]

    async def until(self, count: int) -> list[tuple[str, str]]:
        """Wait until `count` events are accepted."""
        await self.wait(lambda: len(self.told) >= count)
        return self.told

    async def wait(self, is_done: Any) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_done():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def receiver(path: str = "/hook") -> AsyncIterator[Receiver]:
    """A receiver on a free port of loopback."""
    made = Receiver()
    made.gate.set()
    application = web.Application(client_max_size=2**26)
    application.router.add_post(path, made.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
    try:
        yield made
    finally:
        made.gate.set()
        await runner.cleanup()
