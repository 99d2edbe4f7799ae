"""A client that talks to itself through the server: echo, and ingest, where only a reply comes back."""

from __future__ import annotations

import asyncio
import time

from fastws.bench import speech
from fastws.bench.crew import Crew
from fastws.bench.dialing import Link
from fastws.bench.frames import CLOSE, PING, PONG, Template, client_frame, read_frames
from fastws.bench.stamp import stamp


class Echoer(Link):
    """Keeps `window` messages under way. Each that comes back is a delivery and makes room for the next."""

    __slots__ = ("crew", "expected", "index", "is_ready", "number", "tail", "template", "transport")

    def __init__(self, crew: Crew, index: int) -> None:
        self.crew = crew
        self.index = index
        self.is_ready = False
        self.template: Template | None = None
        self.number = 0
        self.expected = 0
        self.tail = b""
        self.transport: asyncio.Transport | None = None

    def opened(self, transport: asyncio.Transport, rest: bytes) -> None:
        self.transport = transport
        plan = self.crew.plan
        if plan.mode == "ingest":
            self._become_ready(speech.ingest(plan))
        elif plan.dialect == "echo":
            self._become_ready(speech.echo(plan, ""))
        if rest:
            self.data_received(rest)

    def refused(self, why: str) -> None:
        self.crew.refusals[why] += 1
        self.crew.failed += 1

    def _become_ready(self, template: Template) -> None:
        self.template = template
        self.is_ready = True
        self.crew.ready += 1

    def send(self, count: int) -> None:
        """Send `count` messages in one write."""
        template, transport = self.template, self.transport
        if template is None or transport is None:
            return
        head, tail, number = template.head, template.tail, self.number
        now = time.monotonic_ns()
        self.number = number + count
        transport.write(b"".join([head + stamp(now, number + i) + tail for i in range(count)]))

    def data_received(self, data: bytes) -> None:
        if self.tail:
            data = self.tail + data
        reading = read_frames(data)
        self.tail = reading.tail
        numbers = reading.numbers
        if numbers:
            crew = self.crew
            crew.deliveries += len(numbers)
            if reading.in_sequence and numbers[0] == self.expected:
                self.expected += len(numbers)
            else:
                crew.missing += max(0, numbers[-1] + 1 - self.expected - len(numbers))
                crew.repeated += max(0, self.expected + len(numbers) - numbers[-1] - 1)
                self.expected = numbers[-1] + 1
            now = time.monotonic_ns()
            for due in reading.dues:
                if crew.take_from <= due < crew.take_until:
                    crew.latencies.add(now - due)
            if now < crew.take_until:
                self.send(len(numbers))
        for opcode, payload in reading.others:
            self._other(opcode, payload)

    def _other(self, opcode: int, payload: bytes) -> None:
        plan, transport = self.crew.plan, self.transport
        if opcode in (PING, CLOSE) and transport is not None:
            transport.write(client_frame(PONG if opcode == PING else CLOSE, payload[:125]))
        elif b"connection_id" in payload and not self.is_ready:
            self._become_ready(speech.echo(plan, str(speech.read(payload, plan.format)["connection_id"])))
        elif b'"error"' in payload or b"\xa5error" in payload:
            self.crew.refusals[payload[:200].decode("utf-8", "replace")] += 1

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.crew.is_over:
            self.crew.closed["1006"] += 1
            self.crew.ready -= self.is_ready
        self.transport = None
