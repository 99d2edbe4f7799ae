"""A client that sends messages to itself (echo), or to nobody and waits for the replies (ingest)."""

from __future__ import annotations

import asyncio
import time

from fastws.bench import dialects
from fastws.bench.connector import Client
from fastws.bench.frames import CLOSE, NORMAL_CLOSE, PING, PONG, Template, client_frame, read_frames
from fastws.bench.shared import Shared
from fastws.bench.timestamp import timestamp


class EchoClient(Client):
    """Keeps `window` messages in flight. Each that comes back counts as a delivery and lets the next one out."""

    __slots__ = ("expected", "index", "is_ready", "number", "shared", "tail", "template", "transport")

    def __init__(self, shared: Shared, index: int) -> None:
        self.shared = shared
        self.index = index
        self.is_ready = False
        self.template: Template | None = None
        self.number = 0
        self.expected = 0
        self.tail = b""
        self.transport: asyncio.Transport | None = None

    def opened(self, transport: asyncio.Transport, rest: bytes) -> None:
        self.transport = transport
        plan = self.shared.plan
        if plan.mode == "ingest":
            self._become_ready(dialects.ingest_template(plan))
        elif plan.dialect == "echo":
            self._become_ready(dialects.echo_template(plan, ""))
        if rest:
            self.data_received(rest)

    def refused(self, why: str) -> None:
        self.shared.refusals[why] += 1
        self.shared.failed += 1

    def _become_ready(self, template: Template) -> None:
        self.template = template
        self.is_ready = True
        self.shared.ready += 1

    def send(self, count: int) -> None:
        """Send `count` messages in one write."""
        template, transport = self.template, self.transport
        if template is None or transport is None:
            return
        head, tail, number = template.head, template.tail, self.number
        now = time.monotonic_ns()
        self.number = number + count
        transport.write(b"".join([head + timestamp(now, number + i) + tail for i in range(count)]))

    def data_received(self, data: bytes) -> None:
        if self.tail:
            data = self.tail + data
        parsed = read_frames(data)
        self.tail = parsed.tail
        numbers = parsed.numbers
        if numbers:
            shared = self.shared
            shared.deliveries += len(numbers)
            if parsed.in_sequence and numbers[0] == self.expected:
                self.expected += len(numbers)
            else:
                shared.missing += max(0, numbers[-1] + 1 - self.expected - len(numbers))
                shared.repeated += max(0, self.expected + len(numbers) - numbers[-1] - 1)
                self.expected = numbers[-1] + 1
            now = time.monotonic_ns()
            for due in parsed.dues:
                if shared.measure_from <= due < shared.measure_until:
                    shared.latencies.add(now - due)
            if now < shared.measure_until:
                self.send(len(numbers))
        for opcode, payload in parsed.others:
            self._other(opcode, payload)

    def _other(self, opcode: int, payload: bytes) -> None:
        plan, transport = self.shared.plan, self.transport
        if opcode in (PING, CLOSE) and transport is not None and not self.shared.is_closing:
            transport.write(client_frame(PONG if opcode == PING else CLOSE, payload[:125]))
        elif b"connection_id" in payload and not self.is_ready:
            greeting = dialects.decode(payload, plan.format)
            self._become_ready(dialects.echo_template(plan, str(greeting["connection_id"])))
        elif b'"error"' in payload or b"\xa5error" in payload:
            self.shared.refusals[payload[:200].decode("utf-8", "replace")] += 1

    def close(self) -> None:
        """Send a close frame with 1000; the server closes the connection."""
        if self.transport is not None:
            self.transport.write(NORMAL_CLOSE)

    def abort(self) -> None:
        """Reset the connection without a close frame."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.shared.is_closing:
            self.shared.closed["1006"] += 1
            self.shared.ready -= self.is_ready
        self.transport = None
