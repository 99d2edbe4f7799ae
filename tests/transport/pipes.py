"""Connections of a real server on a transport whose peer takes as many bytes as the test allows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.frames import Frame, Opcode

from fastws.server.server import Server
from fastws.transport.websocket import Connection

HEAD = (
    "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ENDLESS = 1 << 40


class Pipe(asyncio.Transport):
    """A transport that calls `pause_writing` as soon as its peer takes less than all, and `resume_writing` after.

    The peer takes `room` bytes; `take(n)` makes it take more, as happens between two turns of the loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.room = ENDLESS
        self.writes: list[bytes] = []
        self.taken = bytearray()
        self.waiting = bytearray()
        self.is_paused = False
        self.is_reading = True
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))
        self.waiting += data
        self._flow()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def take(self, room: int = ENDLESS) -> None:
        """Let the peer take `room` more bytes."""
        self.room = room
        self._flow()

    def _flow(self) -> None:
        size = min(self.room, len(self.waiting))
        self.taken += self.waiting[:size]
        del self.waiting[:size]
        self.room -= size
        if bool(self.waiting) is not self.is_paused:
            self.is_paused = not self.is_paused
            (self.protocol.pause_writing if self.is_paused else self.protocol.resume_writing)()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that the peer has received, without the greeting; closes as {"close": code}."""
        return self.all_messages[1:]

    @property
    def all_messages(self) -> list[dict[str, Any]]:
        """The messages that the peer has received."""
        data = bytes(self.taken).partition(b"\r\n\r\n")[2]
        heard = []
        while data:
            opcode, size, head = data[0] & 0x0F, data[1], 2
            if size > 125:
                head = 4 if size == 126 else 10
                size = int.from_bytes(data[2:head], "big")
            payload, data = data[head : head + size], data[head + size :]
            heard.append({"close": int.from_bytes(payload[:2], "big")} if opcode == 8 else json.loads(payload))
        return heard

    @property
    def events(self) -> list[Any]:
        """The events of the publications among them, and the types of the other messages."""
        return [message.get("event") or message.get("type") or message.get("close") for message in self.messages]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50000) if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It always has those of a connection: 0 and 0."""

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True


def open_pipe(server: Server, target: str = "/", pipe: Pipe | None = None) -> Pipe:
    """Send an upgrade request for `target`."""
    pipe = pipe or Pipe()
    pipe.protocol = http = server.assembly.client_protocol()
    http.connection_made(pipe)
    http.data_received(HEAD.format(target=target).encode())
    return pipe


def connect(server: Server, *channels: str, target: str = "/", pipe: Pipe | None = None) -> tuple[Pipe, Connection]:
    """Connect a client to the path and query in `target`, and subscribe it to `channels`."""
    pipe = open_pipe(server, target, pipe)
    connection = pipe.protocol
    assert isinstance(connection, Connection)
    for channel in channels:
        say(connection, {"action": "subscribe", "channel": channel})
    return pipe, connection


def say(connection: Connection, *messages: object) -> None:
    """The client sends `messages` in one piece."""
    connection.data_received(frames(*messages))


def frames(*messages: object) -> bytes:
    """Text frames of a client, one for each of `messages`."""
    return b"".join(Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True) for message in messages)
