"""A subscriber that counts: order and completeness by number, latency by the stamp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from fastws.bench.crew import Crew, Group
from fastws.bench.dialing import Link
from fastws.bench.frames import CLOSE, PING, PONG, client_frame, read_frames
from fastws.bench.speech import DIALECTS, say

# Different bytes remembered for each channel: where the kernel cuts a chunk, two or three kinds of piece go about.
_REMEMBERED: Final = 3
_NOTICES: Final = (b"lag", b"gap")


class Receiver(Link):
    """Subscriber number `index`. `expected` is the number that must come next; None: whichever comes first."""

    __slots__ = ("crew", "expected", "group", "index", "is_ready", "is_slow", "tail", "told_code", "transport")

    def __init__(self, crew: Crew, index: int) -> None:
        self.crew = crew
        self.index = index
        self.group: Group = crew.groups[crew.plan.channel_of(index)]
        self.is_slow = crew.plan.is_slow(index)
        self.is_ready = False
        self.expected: int | None = 0
        self.tail = b""
        self.told_code = 0
        self.transport: asyncio.Transport | None = None

    # --- from dialing to the confirmed subscription

    def opened(self, transport: asyncio.Transport, rest: bytes) -> None:
        self.transport = transport
        plan = self.crew.plan
        speech = DIALECTS[plan.dialect]
        if speech.subscribe is not None:
            transport.write(say(speech.subscribe(speech.channel(self.group.channel)), plan.format))
        if not speech.ready_mark:
            self._become_ready()
        if rest:
            self.data_received(rest)

    def refused(self, why: str) -> None:
        crew = self.crew
        crew.refusals[why] += 1
        if crew.plan.reconnect:
            crew.reopen(self.index, self, retry=True)
        else:
            crew.failed += 1

    def _become_ready(self) -> None:
        self.is_ready = True
        crew = self.crew
        crew.ready += 1
        if crew.cut_ns:
            crew.returns.add(time.monotonic_ns() - crew.cut_ns)
        self.sleep()

    def sleep(self) -> None:
        """A slow receiver stops reading; others don't."""
        if self.is_slow and self.transport is not None:
            self.transport.pause_reading()

    def look(self) -> None:
        """A slow receiver reads for once: only so it hears what it missed, or that it was cut off."""
        if self.is_slow and self.transport is not None:
            self.transport.resume_reading()

    # --- what is heard

    def data_received(self, data: bytes) -> None:
        """Cost: 0.4 µs where the last receivers of the channel heard the same bytes, plus 0.3 µs a latency taken.

        A BufferedProtocol was tried: a second call from uvloop for each read, no gain even for chunks of 12 KB.
        """
        if self.tail:
            data = self.tail + data
        crew = self.crew
        recent = self.group.recent
        for reading in recent:
            if reading.data == data:
                break
        else:
            reading = read_frames(data, crew.every)
            if reading.numbers:
                recent.insert(0, reading)
                del recent[_REMEMBERED:]
        self.tail = reading.tail
        numbers = reading.numbers
        if numbers:
            if not self.is_slow:
                crew.deliveries += len(numbers)
            if reading.in_sequence and numbers[0] == self.expected:
                self.expected += len(numbers)
            else:
                self._compare(numbers)
            if reading.dues and not self.is_slow:
                now = time.monotonic_ns()
                for due in reading.dues:
                    if crew.take_from <= due < crew.take_until:
                        crew.latencies.add(now - due)
            if crew.deliveries >= crew.wake_at:
                crew.wake()
        if reading.others:
            for opcode, payload in reading.others:
                self._other(opcode, payload)

    def _compare(self, numbers: Sequence[int]) -> None:
        """Numbers that are not simply the next ones: count what is missing and what came again or late."""
        crew = self.crew
        expected = numbers[0] if self.expected is None else self.expected
        for number in numbers:
            if number < expected:
                crew.repeated += 1
                continue
            if self.is_slow:
                crew.slow_missing += number - expected
            else:
                crew.missing += number - expected
            expected = number + 1
        self.expected = expected

    def _other(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            if self.transport is not None:
                self.transport.write(client_frame(PONG, payload))
            return
        if opcode == CLOSE:
            self.told_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            if self.transport is not None:
                self.transport.write(client_frame(CLOSE, payload[:2]))
            return
        if not self.is_ready:
            mark = DIALECTS[self.crew.plan.dialect].ready_mark
            if mark and mark in payload:
                self._become_ready()
            return
        for notice in _NOTICES:
            if notice in payload[:32]:
                self.crew.notices[notice.decode()] += 1

    # --- the end

    def cut(self) -> None:
        """Tear the connection down without a word."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        crew = self.crew
        if crew.is_over:
            return
        if self.is_ready:
            crew.ready -= 1
        if self.is_slow:
            crew.slow_closed += 1
        elif not crew.plan.reconnect:
            crew.closed[str(self.told_code or 1006)] += 1
        self.is_ready = False
        self.transport = None
        self.tail = b""
        self.told_code = 0
        if crew.plan.reconnect:
            self.expected = None
            crew.reconnects += 1
            crew.reopen(self.index, self)
