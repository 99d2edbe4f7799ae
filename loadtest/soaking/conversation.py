"""The client side of a WebSocket connection in bytes, without a socket or an event loop.

It replaces a library where a client must stop reading, or choose what goes into one TCP segment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Message = dict[str, Any]
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def upgrade_request(host: str, target: str = "/") -> bytes:
    """Returns the request of an upgrade (RFC 6455 section 4.1)."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Returns a final frame of at most 65,535 bytes, masked with zeros."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + b"\0\0\0\0" + payload


def text_frame(**message: Any) -> bytes:
    return client_frame(TEXT, orjson.dumps(message))


class Refused(ConnectionError):
    """The server answered the upgrade with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the upgrade was answered with status {status}")
        self.status = status


class Conversation:
    """Reads what the server sends and calls `on_message` with each message, in order.

    `close_code` is None until the server's close frame has come.
    """

    def __init__(self, on_message: Callable[[Message], None]) -> None:
        self._on_message = on_message
        self._data = bytearray()
        self._is_upgraded = False
        self.close_code: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Parse bytes of the server. Returns what must be sent back: pongs, and the reply to a close frame.

        Raises Refused.
        """
        self._data += data
        if not self._is_upgraded and not self._take_head():
            return b""
        answers = b""
        while (frame := self._take_frame()) is not None:
            opcode, payload = frame
            if opcode == TEXT:
                self._on_message(orjson.loads(payload))
            elif opcode == PING:
                answers += client_frame(PONG, payload)
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
                answers += client_frame(CLOSE, payload[:2])
        return answers

    def _take_head(self) -> bool:
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return False
        status = int(head.split(maxsplit=2)[1])
        if status != 101:
            raise Refused(status)
        self._is_upgraded = True
        self._data = rest
        return True

    def _take_frame(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start or len(data) < start + size:
            return None
        opcode, payload = data[0] & 15, bytes(data[start : start + size])
        del data[: start + size]
        return opcode, payload
