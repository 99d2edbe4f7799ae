"""Starlette on uvicorn with uvloop and its `websockets` protocol, compression off."""

from __future__ import annotations

import sys
from collections import defaultdict

import uvicorn
from messages import ack, confirmation, delivery, parse
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

channels: defaultdict[str, set[WebSocket]] = defaultdict(set)


async def echo(client: WebSocket) -> None:
    await client.accept()
    async for text in client.iter_text():
        await client.send_text(text)


async def handle(client: WebSocket) -> None:
    await client.accept()
    joined = set()
    try:
        async for frame in client.iter_text():
            message = parse(frame)
            name = message["channel"]
            if message["action"] == "subscribe":
                channels[name].add(client)
                joined.add(name)
                await client.send_text(confirmation(name).decode())
                continue
            text = delivery(message).decode()
            for other in list(channels[name]):
                try:
                    await other.send_text(text)
                except (RuntimeError, WebSocketDisconnect):
                    channels[name].discard(other)
            await client.send_text(ack(name, len(channels[name])).decode())
    finally:
        for name in joined:
            channels[name].discard(client)


app = Starlette(routes=[WebSocketRoute("/", handle), WebSocketRoute("/echo", echo)])
uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    loop="uvloop",
    ws="websockets-sansio",
    ws_per_message_deflate=False,
    log_level="error",
    access_log=False,
    backlog=4096,
)
