"""aiohttp on uvloop, with the loop over clients from its documentation."""

from __future__ import annotations

import sys
from collections import defaultdict

import uvloop
from aiohttp import web
from messages import ack, confirmation, delivery, parse

channels: defaultdict[str, set[web.WebSocketResponse]] = defaultdict(set)


async def echo(request: web.Request) -> web.WebSocketResponse:
    client = web.WebSocketResponse(compress=False)
    await client.prepare(request)
    async for message in client:
        await client.send_str(message.data)
    return client


async def handle(request: web.Request) -> web.WebSocketResponse:
    client = web.WebSocketResponse(compress=False)
    await client.prepare(request)
    joined = set()
    try:
        async for frame in client:
            message = parse(frame.data)
            name = message["channel"]
            if message["action"] == "subscribe":
                channels[name].add(client)
                joined.add(name)
                await client.send_str(confirmation(name).decode())
            else:
                text = delivery(message).decode()
                for other in set(channels[name]):
                    await other.send_str(text)
                await client.send_str(ack(name, len(channels[name])).decode())
    finally:
        for name in joined:
            channels[name].discard(client)
    return client


uvloop.install()
app = web.Application()
app.add_routes([web.get("/", handle), web.get("/echo", echo)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, backlog=4096)
