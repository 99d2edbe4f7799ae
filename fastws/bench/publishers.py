"""Publishers: over a WebSocket, or as a backend by POST /broadcast."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from fastws.bench.connector import Client, open_socket
from fastws.bench.dialects import DIALECTS, EVENT, publish_template
from fastws.bench.frames import CLOSE, NORMAL_CLOSE, PING, PONG, client_frame, read_frames
from fastws.bench.shared import Shared
from fastws.bench.timestamp import PLACEHOLDER, payload, timestamp

# (channel, sequence number in the channel, when it was due in ns)
Due = tuple[int, int, int]
MOST_IN_A_REQUEST: Final = 200


class Publisher(Protocol):
    """The server confirmed `acknowledged` messages and refused `rejected`; `errors` counts its error texts."""

    acknowledged: int
    rejected: int
    errors: Counter[str]
    is_open: bool

    async def open(self) -> None: ...

    def publish(self, dues: list[Due]) -> None: ...

    def close(self) -> None:
        """Start the closing handshake. `is_open` becomes false once the connection is closed."""
        ...

    def abort(self) -> None: ...


class WebSocketPublisher(Client):
    """A client of the dialect that sends. With `plan.reconnect` it reconnects and sends what became due meanwhile."""

    def __init__(self, shared: Shared) -> None:
        self.is_open = False
        self._waiting: list[Due] = []
        self.acknowledged = 0
        self.rejected = 0
        self.errors: Counter[str] = Counter()
        self._shared = shared
        self._templates = [publish_template(shared.plan, channel) for channel in range(shared.plan.channels)]
        self._tail = b""
        self._opening = shared.loop.create_future()
        self._transport: asyncio.Transport

    async def open(self) -> None:
        """Raises ConnectionError if the server refuses the connection."""
        await self._shared.connector.connect(0, self)
        await self._opening

    def opened(self, transport: asyncio.Transport, rest: bytes) -> None:
        self._transport = transport
        self._tail = b""
        self.is_open = True
        if not self._opening.done():
            self._opening.set_result(None)
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self.publish(waiting)
        if rest:
            self.data_received(rest)

    def refused(self, why: str) -> None:
        if self._opening.done():
            self._shared.reopen(0, self, retry=True)
        else:
            self._opening.set_exception(ConnectionError(f"the publisher was refused: {why}"))

    def publish(self, dues: list[Due]) -> None:
        if not self.is_open:
            self._waiting += dues
            return
        templates = self._templates
        frames = []
        for channel, number, due in dues:
            template = templates[channel]
            frames.append(template.head + timestamp(due, number) + template.tail)
        self._transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        parsed = read_frames(self._tail + data)
        self._tail = parsed.tail
        for opcode, text in parsed.others:
            if b"send_success" in text:
                self.acknowledged += 1
            elif opcode in (PING, CLOSE) and not self._shared.is_closing:
                self._transport.write(client_frame(PONG if opcode == PING else CLOSE, text[:125]))
            elif b"error" in text:
                self.rejected += 1
                self.errors[text[:200].decode("utf-8", "replace")] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._shared.is_closing:
            return
        self.errors["the publisher's connection was closed"] += 1
        if self._shared.plan.reconnect:
            self._shared.reopen(0, self)

    def close(self) -> None:
        if self.is_open:
            self._transport.write(NORMAL_CLOSE)

    def abort(self) -> None:
        self._transport.abort()


class HttpPublisher(asyncio.Protocol):
    """A backend: one keep-alive connection and one request at a time; waiting messages go into the next request."""

    def __init__(self, shared: Shared) -> None:
        self.is_open = False
        self.acknowledged = 0
        self.rejected = 0
        self.errors: Counter[str] = Counter()
        plan = shared.plan
        self._shared = shared
        self._target = urlsplit(plan.urls[0])
        self._dialect = DIALECTS[plan.dialect]
        self._items = [self._item(channel) for channel in range(plan.channels)]
        self._head = (
            f"POST /broadcast HTTP/1.1\r\nHost: {self._target.netloc}\r\nAuthorization: Bearer {plan.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._waiting: list[bytes] = []
        self._in_flight = 0
        self._answer = b""
        self._transport: asyncio.Transport

    def _item(self, channel: int) -> tuple[bytes, bytes]:
        data: object = payload(self._shared.plan.payload_bytes)
        if self._shared.plan.dialect == "jobs":
            data = {"job_id": "bench", "status": "running", "text": data}
        item = json.dumps({"channel": self._dialect.channel(channel), "event": EVENT, "data": data}).encode()
        head, _, tail = item.partition(PLACEHOLDER)
        return head, tail

    async def open(self) -> None:
        tls = self._shared.connector.tls if self._target.scheme == "wss" else None
        sock = await open_socket(self._target, None)
        name = self._target.hostname if tls else None
        await self._shared.loop.create_connection(lambda: self, sock=sock, ssl=tls, server_hostname=name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a TCP transport reads and writes
        self.is_open = True
        self._post()

    def publish(self, dues: list[Due]) -> None:
        for channel, number, due in dues:
            head, tail = self._items[channel]
            self._waiting.append(head + timestamp(due, number) + tail)
        self._post()

    def _post(self) -> None:
        if self._in_flight or not self._waiting or not self.is_open:
            return
        items, self._waiting = self._waiting[:MOST_IN_A_REQUEST], self._waiting[MOST_IN_A_REQUEST:]
        self._in_flight = len(items)
        body = b'{"messages":[' + b",".join(items) + b"]}"
        self._transport.write(self._head + b"%d\r\n\r\n" % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, blank_line, body = self._answer.partition(b"\r\n\r\n")
        if not blank_line:
            return
        _, _, length = head.lower().partition(b"content-length:")
        if len(body) < int(length.partition(b"\r\n")[0] or 0):
            return
        if head[9:12] == b"200":
            bad = body.count(b'"error"')
            self.acknowledged += self._in_flight - bad
            self.rejected += bad
        else:
            self.rejected += self._in_flight
            self.errors[f"{head[9:12].decode()}: {body[:200].decode('utf-8', 'replace')}"] += 1
        self._answer = b""
        self._in_flight = 0
        self._post()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._shared.is_closing:
            return
        self.errors["the publisher's connection was closed"] += 1
        self.rejected += self._in_flight  # the server may have published them, but did not confirm
        self._in_flight = 0
        self._answer = b""
        if self._shared.plan.reconnect:
            self._shared.retry(self.open)

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
