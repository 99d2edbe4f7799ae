"""`websockets` on uvloop with `broadcast`, as its documentation recommends for many receivers."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

import uvloop
from messages import ack, confirmation, delivery, parse
from websockets.asyncio.server import ServerConnection, broadcast, serve

channels: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def handle(client: ServerConnection) -> None:
    if client.request is not None and client.request.path == "/echo":
        async for message in client:
            await client.send(message)
        return
    joined = set()
    try:
        async for text in client:
            message = parse(text)
            name = message["channel"]
            if message["action"] == "subscribe":
                channels[name].add(client)
                joined.add(name)
                await client.send(confirmation(name), text=True)
            else:
                broadcast(channels[name], delivery(message).decode())
                await client.send(ack(name, len(channels[name])), text=True)
    finally:
        for name in joined:
            channels[name].discard(client)


async def main(port: int) -> None:
    async with serve(handle, "127.0.0.1", port, compression=None, backlog=4096):
        await asyncio.get_running_loop().create_future()


uvloop.run(main(int(sys.argv[1])))
