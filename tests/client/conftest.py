"""A server on the `websockets` library that speaks the dialects as far as a client of fastws needs."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgpack
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

HELLO = {
    "/": lambda n: {"type": "connection_id", "connection_id": f"c{n}"},
    "/api/v1/ws": lambda n: {"type": "connection", "event": "connected", "connection_id": f"c{n}"},
    "/ws": lambda n: {"event": "connected", "connection_id": f"c{n}", "workspace_id": "w"},
}


class Peer:
    """`requests` and `tokens` are what clients have sent. `refusals` are the answers to the next upgrades.

    `replies` maps an action to its reply (or to None: no reply, or to a close code); else a fitting one is made.
    """

    def __init__(self) -> None:
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.connections: list[ServerConnection] = []
        self.arrivals: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.tokens: list[str | None] = []
        self.queries: list[dict[str, list[str]]] = []
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.replies: dict[str, Any] = {}
        self.greets = True
        self.server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.server = await serve(
            self.handle,
            "127.0.0.1",
            self.port,
            process_request=self.admit,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
        )
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        await self.server.wait_closed()

    def admit(self, connection: ServerConnection, request: Any) -> Any:
        self.tokens.append((request.headers.get("Authorization") or "").removeprefix("Bearer ") or None)
        self.queries.append(parse_qs(urlsplit(request.path).query))
        if self.refusals:
            status, headers = self.refusals.pop(0)
            response = connection.respond(http.HTTPStatus(status), "")
            response.headers.update(headers)
            return response
        return None

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        path = urlsplit(connection.request.path).path
        if self.greets and (path != "/ws" or self.tokens[-1]):
            await self.say(HELLO[path](len(self.connections)), connection)
        self.arrivals.put_nowait(connection)
        with contextlib.suppress(ConnectionClosed):
            async for frame in connection:
                request = json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame, timestamp=3)
                self.requests.put_nowait(request)
                await self.reply(connection, request)

    async def reply(self, connection: ServerConnection, request: dict[str, Any]) -> None:
        action = request.get("action") or request["type"]
        reply = self.replies.get(action, {"type": "done", "action": action, "sent": 2, "failed": 1, "data": {"n": 1}})
        if isinstance(reply, list):
            reply = reply.pop(0) if reply else {"type": "done"}
        if isinstance(reply, int):
            await connection.close(reply)
        elif reply is not None:
            await self.say({**reply, "id": request["id"]}, connection)

    async def say(self, message: Any, connection: ServerConnection | None = None) -> None:
        connection = connection or self.connections[-1]
        binary = connection.subprotocol == "fastws.msgpack"
        await connection.send(msgpack.packb(message, datetime=True) if binary else json.dumps(message))

    async def asked(self) -> dict[str, Any]:
        """The next request, without its id."""
        request = await asyncio.wait_for(self.requests.get(), 5)
        del request["id"]
        return request


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.start()
    yield peer
    await peer.stop()
