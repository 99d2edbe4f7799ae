"""A subscriber that checks order and completeness by sequence number, and takes latencies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from fastws.bench.connector import Client
from fastws.bench.dialects import DIALECTS, request_frame
from fastws.bench.frames import CLOSE, NORMAL_CLOSE, PING, PONG, client_frame, read_frames
from fastws.bench.shared import Group, Shared

# Parsed pieces remembered for each channel. The kernel may split a chunk, so two or three different pieces arrive.
_REMEMBERED: Final = 3
_NOTICES: Final = (b"lag", b"gap")


class Receiver(Client):
    """Subscriber number `index`. `expected` is the next sequence number; None: any, as after a reconnect."""

    __slots__ = ("close_code", "expected", "group", "index", "is_ready", "is_slow", "shared", "tail", "transport")

    def __init__(self, shared: Shared, index: int) -> None:
        self.shared = shared
        self.index = index
        self.group: Group = shared.groups[shared.plan.channel_of(index)]
        self.is_slow = shared.plan.is_slow(index)
        self.is_ready = False
        self.expected: int | None = 0
        self.tail = b""
        self.close_code = 0
        self.transport: asyncio.Transport | None = None

    # --- from connecting to the confirmed subscription

    def opened(self, transport: asyncio.Transport, rest: bytes) -> None:
        self.transport = transport
        plan = self.shared.plan
        dialect = DIALECTS[plan.dialect]
        if dialect.subscribe is not None:
            transport.write(request_frame(dialect.subscribe(dialect.channel(self.group.channel)), plan.format))
        if not dialect.ready_mark:
            self._become_ready()
        if rest:
            self.data_received(rest)

    def refused(self, why: str) -> None:
        shared = self.shared
        shared.refusals[why] += 1
        if shared.plan.reconnect:
            shared.reopen(self.index, self, retry=True)
        else:
            shared.failed += 1

    def _become_ready(self) -> None:
        self.is_ready = True
        shared = self.shared
        shared.ready += 1
        if shared.lost_at_ns:
            shared.reconnect_times.add(time.monotonic_ns() - shared.lost_at_ns)
        self.pause_if_slow()

    def pause_if_slow(self) -> None:
        """Stop reading if this is a slow receiver."""
        if self.is_slow and self.transport is not None:
            self.transport.pause_reading()

    def resume_if_slow(self) -> None:
        """Let a slow receiver read, so that it gets what it missed or learns that the server closed it."""
        if self.is_slow and self.transport is not None:
            self.transport.resume_reading()

    # --- receiving

    def data_received(self, data: bytes) -> None:
        """Costs 0.4 µs if the last receivers of the channel got the same bytes, plus 0.3 µs for each latency.

        BufferedProtocol was tried: uvloop then makes a second call for each read, without gain even for 12 KB chunks.
        Hot, so it is one function: each further call per read would slow the load down.
        """
        if self.tail:
            data = self.tail + data
        shared = self.shared
        recent = self.group.recent
        for parsed in recent:
            if parsed.data == data:
                break
        else:
            parsed = read_frames(data, shared.every)
            if parsed.numbers:
                recent.insert(0, parsed)
                del recent[_REMEMBERED:]
        self.tail = parsed.tail
        numbers = parsed.numbers
        if numbers:
            if not self.is_slow:
                shared.deliveries += len(numbers)
            if parsed.in_sequence and numbers[0] == self.expected:
                self.expected += len(numbers)
            else:
                self._compare(numbers)
            if parsed.dues and not self.is_slow:
                now = time.monotonic_ns()
                for due in parsed.dues:
                    if shared.measure_from <= due < shared.measure_until:
                        shared.latencies.add(now - due)
            if shared.deliveries >= shared.wake_at:
                shared.wake()
        if parsed.others:
            for opcode, payload in parsed.others:
                self._other(opcode, payload)

    def _compare(self, numbers: Sequence[int]) -> None:
        """Count what is missing, repeated or out of order. Called if the numbers are not simply the next ones."""
        shared = self.shared
        expected = numbers[0] if self.expected is None else self.expected
        for number in numbers:
            if number < expected:
                shared.repeated += 1
                continue
            if self.is_slow:
                shared.slow_missing += number - expected
            else:
                shared.missing += number - expected
            expected = number + 1
        self.expected = expected

    def _other(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            if self.transport is not None:
                self.transport.write(client_frame(PONG, payload))
            return
        if opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            if self.transport is not None and not self.shared.is_closing:
                self.transport.write(client_frame(CLOSE, payload[:2]))
            return
        if not self.is_ready:
            mark = DIALECTS[self.shared.plan.dialect].ready_mark
            if mark and mark in payload:
                self._become_ready()
            return
        for notice in _NOTICES:
            if notice in payload[:32]:
                self.shared.notices[notice.decode()] += 1

    # --- the end

    def close(self) -> None:
        """Send a close frame with 1000; the server closes the connection."""
        if self.transport is not None:
            self.transport.write(NORMAL_CLOSE)
            self.resume_if_slow()

    def abort(self) -> None:
        """Reset the connection without a close frame."""
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        shared = self.shared
        if shared.is_closing:
            self.transport = None
            return
        if self.is_ready:
            shared.ready -= 1
        if self.is_slow:
            shared.slow_closed += 1
        elif not shared.plan.reconnect:
            shared.closed[str(self.close_code or 1006)] += 1
        self.is_ready = False
        self.transport = None
        self.tail = b""
        self.close_code = 0
        if shared.plan.reconnect:
            self.expected = None
            shared.reconnects += 1
            shared.reopen(self.index, self)
