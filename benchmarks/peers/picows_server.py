"""picows (Cython) on uvloop: one listener and one `transport.send` per client, as in its broadcast example."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

import uvloop
from messages import ack, confirmation, delivery, parse
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

TEXT = WSMsgType.TEXT
channels: defaultdict[str, set[WSTransport]] = defaultdict(set)


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Client(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.joined: set[str] = set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
            return
        message = parse(frame.get_payload_as_bytes())
        name = message["channel"]
        if message["action"] == "subscribe":
            channels[name].add(transport)
            self.joined.add(name)
            transport.send(TEXT, confirmation(name))
        else:
            data = delivery(message)
            for other in channels[name]:
                other.send(TEXT, data)
            transport.send(TEXT, ack(name, len(channels[name])))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        for name in self.joined:
            channels[name].discard(transport)


async def main(port: int) -> None:
    def listener(request: WSUpgradeRequest) -> WSListener:
        return Echo() if request.path == b"/echo" else Client()

    server = await ws_create_server(listener, "127.0.0.1", port, backlog=4096)
    async with server:
        await asyncio.get_running_loop().create_future()


uvloop.run(main(int(sys.argv[1])))
