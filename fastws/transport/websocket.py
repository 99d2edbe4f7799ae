"""One WebSocket connection: bytes from the socket to the session, frames from the hub to the socket."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from fastws.errors import FastWSError, ProtocolViolation
from fastws.session.services import Services
from fastws.transport.connection_log import who
from fastws.transport.heartbeat import reset
from fastws.transport.states import TRANSITIONS, Event, State
from fastws.transport.writer import Writer, forget
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Failure, Reply
from fastws.wire.deflate import Deflate
from fastws.wire.frame_parser import FrameParser
from fastws.wire.frame_reader import read_frames
from fastws.wire.frames import PING_FRAME, close_frame, pong_frame
from fastws.wire.opcodes import CLOSE, PING

log = structlog.stdlib.get_logger("fastws.connection")

# Frames that one connection may have done in one loop turn: some 2 ms.
FRAMES_PER_TURN: Final = 1024
LINGER_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 5.0
SLOW_CLOSE_SECONDS: Final = 1.0


class Connection(Writer):
    """A client after its upgrade; the hub's Member. No task, queue or parser while it is idle."""

    __slots__ = (
        "address",
        "deflate",
        "id",
        "parser",
        "silent",
        "user_agent",
    )

    def __init__(
        self,
        services: Services,
        transport: asyncio.Transport,
        connection_id: str,
        *,
        address: str,
        user_agent: str,
        deflate: Deflate | None,
    ) -> None:
        super().__init__(services, transport)
        self.id = connection_id
        self.address = address
        self.user_agent = user_agent
        self.deflate = deflate
        self.parser: FrameParser | None = None
        # Heartbeat rounds without a sign of life.
        self.silent = 0

    # --- bytes in

    def data_received(self, data: bytes) -> None:
        self.silent = 0
        if self.state is not State.OPEN:
            self._wait_for_close(data)
            return
        try:
            self._read(data)
        except Exception:
            log.exception("error of ours", connection=self.id)
            self._break()

    def process(self, messages: list[tuple[int, bytes]]) -> None:
        """Messages that had to wait for an answer from elsewhere."""
        try:
            self.session.receive(messages)
        except Exception:
            log.exception("error of ours", connection=self.id)
            self._break()

    def _break(self) -> None:
        """After an error of ours; where it came amid a close, nothing more is said."""
        if self.state is State.OPEN:
            self.end(1011, "internal error", label="internal")
        else:
            self.transport.abort()

    def _read(self, data: bytes) -> None:
        parser = self.parser
        if parser is not None:
            self._read_with_parser(parser, data)
            return
        messages, used = read_frames(data, 0, self.services.limits.message_bytes, FRAMES_PER_TURN)
        if messages:
            self.session.receive(messages)
        if used < len(data) and self.state is State.OPEN:
            self._read_with_parser(self._open_parser(), data[used:] if used else data)

    def _open_parser(self) -> FrameParser:
        limits = self.services.limits
        inflater = None if self.deflate is None else self.deflate.inflater(limits.message_bytes)
        self.parser = parser = FrameParser(limits.message_bytes, limits.fragments, inflater)
        return parser

    def _read_with_parser(self, parser: FrameParser, data: bytes) -> None:
        """Bytes that do not end with a frame, or hold frames that the direct reader leaves to wsproto."""
        messages = parser.feed(data, FRAMES_PER_TURN)
        if messages:
            self.session.receive(messages)
        if self.state is not State.OPEN:
            return
        if parser.failure is not None:
            self.fail(parser.failure)
        elif parser.is_idle:
            self.parser = None
        elif parser.has_backlog:
            self.stop_reading()
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        """The rest of what one read brought, after others had their turn."""
        if self.state is not State.OPEN or self.session.backlog is not None or self.publisher_pause is not None:
            return  # whoever holds it up comes back by `go_on_reading`
        self.data_received(b"")
        if self.parser is None or not self.parser.has_backlog:
            self.go_on_reading()

    def control(self, opcode: int, payload: bytes) -> None:
        """A control frame, between the messages of a turn."""
        if opcode == PING:
            self.session.write_reply_frame(pong_frame(payload))
        elif opcode == CLOSE:
            self._answer_close(payload)

    def eof_received(self) -> bool:
        """The peer will send no more: so we are done, too (returning False closes the transport once it is written)."""
        if self.state is State.OPEN:
            self._count_end(1006, "lost")
        self._step(Event.PEER_FAILS)
        self._forget_waiting()
        self.services.heartbeat.expect_end(self, CLOSE_SECONDS)
        return False

    # --- reading on and off

    def go_on_reading(self) -> None:
        if self.transport.is_closing() or self.publisher_pause is not None or self.is_crowded:
            return
        session = self.session
        if session.is_held:
            session.is_held = False
            asyncio.get_running_loop().call_soon(session.go_on)
        if session.backlog is not None:
            return  # until the answer that it waits for is there
        if self.parser is not None and self.parser.has_backlog:
            asyncio.get_running_loop().call_soon(self._next_turn)
        else:
            self.transport.resume_reading()

    # --- heartbeat

    def check_life(self, rounds_until_idle: int, *, pings: bool) -> None:
        """One round of the heartbeat: ping who was silent for a whole one, close who stays so."""
        was_silent = self.silent > 0
        self.silent += 1
        if self.silent > rounds_until_idle:
            self.end(1001, "idle", label="idle")
            if self.outbox is None:
                self.transport.abort()
            else:
                reset(self.transport)
        elif pings and was_silent and self.outbox is None:
            self.send(PING_FRAME)

    def expire(self) -> None:
        """The token is over: say so in the dialect's words, then close."""
        if self.state is State.OPEN:
            self.session.send_reply(Failure("unauthorized", "the token has expired"))
            self.end(4401, "token expired", label="expired")

    def revoke(self) -> None:
        """The token was revoked: say so, then close."""
        if self.state is State.OPEN:
            self.session.send_reply(Failure("unauthorized", "the token was revoked"))
            self.end(4401, "token revoked", label="revoked")

    # --- the end

    @property
    def is_gone(self) -> bool:
        return self.state is not State.OPEN

    def end(self, code: int, reason: str, *, label: str) -> None:
        """Close from our side. The peer has 5 s to answer before the connection is aborted."""
        if self.state is not State.OPEN:
            return
        self._count_end(code, label, reason)
        self.session.uncork()
        self.write_control(close_frame(code, reason))
        self._step(Event.WE_CLOSE)
        if not self.transport.is_closing():
            self.transport.resume_reading()  # the answer is awaited, whatever reading was paused for
        self.services.heartbeat.expect_end(self, CLOSE_SECONDS)

    def fail(self, error: FastWSError) -> None:
        """The peer broke the protocol (RFC 6455 section 7.1.7): say why, and close the TCP connection."""
        if self.state is not State.OPEN:
            return
        code = error.violation_code if isinstance(error, ProtocolViolation) else error.close_code
        self._count_end(code, error.code, error.message)
        self.session.uncork()
        self.write_control(close_frame(code, error.message))
        self._step(Event.PEER_FAILS)
        self._close_our_half()

    def cut_off(self, channel: str) -> None:
        """A slow consumer: what waits is dropped, the close has a second to get through."""
        outbox = self.outbox
        waiting = 0 if outbox is None else outbox.clear()
        self.services.counters.dropped["slow_consumer"] += waiting
        log.warning(
            "client removed: slow consumer",
            channel=channel,
            dropped=waiting,
            **who(self),
        )
        self.end(1013, "slow consumer", label="slow_consumer")
        self.services.heartbeat.expect_end(self, SLOW_CLOSE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state is State.OPEN:
            self._count_end(1006, "lost")
        self._step(Event.LOST)
        self.parser = None
        self.outbox = None
        self.services.heartbeat.forget(self)
        self.services.left(self)

    def _count_end(self, code: int, label: str, reason: str = "") -> None:
        # A client may choose among 2,000 codes from 3000 on: no reason for as many series of figures.
        counted = code // 1000 * 1000 if label == "client" and code >= 3000 else code
        self.services.counters.closed[(counted, label)] += 1
        self.services.connection_log.closed(self, code, label)
        if self.services.hook is not None:
            self.services.hook.disconnected(self.id, code, reason)

    def _step(self, event: Event) -> None:
        """Enter the next state; who leaves OPEN hears nothing more."""
        was_open = self.state is State.OPEN
        self.state = TRANSITIONS[(self.state, event)]
        if was_open:
            self.send = forget
            self._resume_publishers(self.outbox)
            self.session.backlog = None
            self.services.roster.remove(self)
            self.services.hub.leave(self)

    def _answer_close(self, payload: bytes) -> None:
        """The peer closes: echo its code (RFC 6455 section 5.5.1), then close the TCP connection, as servers do."""
        if self.state is not State.OPEN:
            return
        code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
        self._count_end(code, "client", payload[2:].decode("utf-8", "replace"))
        self.session.uncork()
        self._forget_waiting()
        self.write_control(close_frame(code if code != 1005 else 1000))
        self._step(Event.PEER_CLOSES)
        self._close_transport()

    def _wait_for_close(self, data: bytes) -> None:
        """After our close frame only the peer's is of interest; what came before it is read and let go."""
        if self.state is not State.CLOSING:
            return
        parser = self.parser or self._open_parser()
        events = parser.feed(data, FRAMES_PER_TURN)
        if parser.failure is not None or parser.has_backlog or any(opcode == CLOSE for opcode, _ in events):
            self._step(Event.PEER_CLOSES)
            self._close_transport()

    def _forget_waiting(self) -> None:
        if self.outbox is not None:
            self.services.counters.dropped["closed"] += self.outbox.clear()

    def _close_transport(self) -> None:
        """Close once everything is written; what waits in the outbox goes to the transport first."""
        self._flush_outbox()
        self.transport.close()
        self.services.heartbeat.expect_end(self, CLOSE_SECONDS)

    def _flush_outbox(self) -> None:
        outbox = self.outbox
        if outbox is not None:
            while batch := outbox.take():
                self.transport.writelines(batch)

    def _close_our_half(self) -> None:
        """Say that no more comes, and read and let go what the peer is still sending until it has closed, too.

        A close with unread bytes resets the connection, and takes the reason with it (RFC 9112 section 9.6 has it).
        """
        self._flush_outbox()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.transport.resume_reading()
            self.services.heartbeat.expect_end(self, LINGER_SECONDS)
        else:
            self._close_transport()

    # --- as endpoints see it

    @property
    def waiting(self) -> tuple[int, int] | None:
        outbox = self.outbox
        return None if outbox is None else (outbox.messages, outbox.size + self.transport.get_write_buffer_size())

    def deliver_direct(self, publication: Publication) -> bool:
        return self.session.deliver_direct(publication)

    def deliver_raw(self, body: bytes) -> bool:
        return self.session.deliver_raw(body)

    def notify(self, reply: Reply) -> None:
        """Tell this client something it did not ask for, in its dialect's words."""
        if self.state is State.OPEN:
            self.session.send_reply(reply)

    @property
    def identity(self) -> Identity | None:
        return self.session.identity

    @property
    def dialect_name(self) -> str:
        return self.session.form.dialect.name

    @property
    def codec_name(self) -> str:
        return self.session.form.codec.name

    @property
    def channel_names(self) -> list[str]:
        return [audience.channel.name for audience in self.audiences]

    @property
    def connected_at(self) -> float:
        return self.session.connected_at

    @property
    def last_active_at(self) -> float:
        return time.time() - self.silent * self.services.heartbeat.round_seconds
