"""Where a publisher's messages go: over a WebSocket of its own, or as a backend's POST /broadcast."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from fastws.bench.crew import Crew
from fastws.bench.dialing import Link, connect
from fastws.bench.frames import CLOSE, PING, PONG, client_frame, read_frames
from fastws.bench.speech import DIALECTS, EVENT, publication
from fastws.bench.stamp import PLACEHOLDER, payload, stamp

# (channel, number in the channel's sequence, when it was due in ns)
Due = tuple[int, int, int]
MOST_IN_A_REQUEST: Final = 200


class Outlet(Protocol):
    """`acknowledged` messages were taken by the server, `rejected` were not; `errors` counts its words."""

    acknowledged: int
    rejected: int
    errors: Counter[str]
    is_open: bool

    async def open(self) -> None: ...

    def publish(self, dues: list[Due]) -> None: ...

    def close(self) -> None: ...


class WebSocketOutlet(Link):
    """A client of the dialect that sends. With `plan.reconnect` it comes back; what is due meanwhile waits."""

    def __init__(self, crew: Crew) -> None:
        self.is_open = False
        self._waiting: list[Due] = []
        self.acknowledged = 0
        self.rejected = 0
        self.errors: Counter[str] = Counter()
        self._crew = crew
        self._templates = [publication(crew.plan, channel) for channel in range(crew.plan.channels)]
        self._tail = b""
        self._opening = crew.loop.create_future()
        self._transport: asyncio.Transport

    async def open(self) -> None:
        """Raises ConnectionError where the server does not let it in."""
        await self._crew.dialer.dial(0, self)
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
            self._crew.reopen(0, self, retry=True)
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
            frames.append(template.head + stamp(due, number) + template.tail)
        self._transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        reading = read_frames(self._tail + data)
        self._tail = reading.tail
        for opcode, said in reading.others:
            if b"send_success" in said:
                self.acknowledged += 1
            elif opcode in (PING, CLOSE):
                self._transport.write(client_frame(PONG if opcode == PING else CLOSE, said[:125]))
            elif b"error" in said:
                self.rejected += 1
                self.errors[said[:200].decode("utf-8", "replace")] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._crew.is_over:
            return
        self.errors["the publisher's connection was closed"] += 1
        if self._crew.plan.reconnect:
            self._crew.reopen(0, self)

    def close(self) -> None:
        self._transport.abort()


class HttpOutlet(asyncio.Protocol):
    """A backend: one keep-alive connection, one request under way, what waits goes into the next one."""

    def __init__(self, crew: Crew) -> None:
        self.is_open = False
        self.acknowledged = 0
        self.rejected = 0
        self.errors: Counter[str] = Counter()
        plan = crew.plan
        self._crew = crew
        self._target = urlsplit(plan.urls[0])
        self._speech = DIALECTS[plan.dialect]
        self._items = [self._item(channel) for channel in range(plan.channels)]
        self._head = (
            f"POST /broadcast HTTP/1.1\r\nHost: {self._target.netloc}\r\nAuthorization: Bearer {plan.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._waiting: list[bytes] = []
        self._under_way = 0
        self._answer = b""
        self._transport: asyncio.Transport

    def _item(self, channel: int) -> tuple[bytes, bytes]:
        data: object = payload(self._crew.plan.payload_bytes)
        if self._crew.plan.dialect == "jobs":
            data = {"job_id": "bench", "status": "running", "text": data}
        item = json.dumps({"channel": self._speech.channel(channel), "event": EVENT, "data": data}).encode()
        head, _, tail = item.partition(PLACEHOLDER)
        return head, tail

    async def open(self) -> None:
        tls = self._crew.dialer.tls if self._target.scheme == "wss" else None
        sock = await connect(self._target, None)
        name = self._target.hostname if tls else None
        await self._crew.loop.create_connection(lambda: self, sock=sock, ssl=tls, server_hostname=name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # of a TCP connection: reads and writes
        self.is_open = True
        self._post()

    def publish(self, dues: list[Due]) -> None:
        for channel, number, due in dues:
            head, tail = self._items[channel]
            self._waiting.append(head + stamp(due, number) + tail)
        self._post()

    def _post(self) -> None:
        if self._under_way or not self._waiting or not self.is_open:
            return
        items, self._waiting = self._waiting[:MOST_IN_A_REQUEST], self._waiting[MOST_IN_A_REQUEST:]
        self._under_way = len(items)
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
            self.acknowledged += self._under_way - bad
            self.rejected += bad
        else:
            self.rejected += self._under_way
            self.errors[f"{head[9:12].decode()}: {body[:200].decode('utf-8', 'replace')}"] += 1
        self._answer = b""
        self._under_way = 0
        self._post()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._crew.is_over:
            return
        self.errors["the publisher's connection was closed"] += 1
        self.rejected += self._under_way  # whether the server has taken them nobody can say
        self._under_way = 0
        self._answer = b""
        if self._crew.plan.reconnect:
            self._crew.again(self.open)

    def close(self) -> None:
        self._transport.abort()
