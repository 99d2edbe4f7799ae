"""A WebSocket connection: bytes from the socket to the session, frames from the hub to the socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from fastws.errors import FastWSError
from fastws.session.session import Message
from fastws.session.waiting import resume
from fastws.transport import closing
from fastws.transport.closed_transport import CLOSED
from fastws.transport.heartbeat import reset
from fastws.transport.services import TransportServices
from fastws.transport.states import Event, State
from fastws.transport.writer import Writer
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Failure, Reply
from fastws.wire.deflate import Deflate, Inflater
from fastws.wire.frame_parser import FrameParser
from fastws.wire.frame_reader import read_frames
from fastws.wire.frames import pong_frame
from fastws.wire.opcodes import CLOSE, PING

log = structlog.stdlib.get_logger("fastws.connection")

# Frames of one connection that are processed in one loop turn: about 2 ms.
FRAMES_PER_TURN: Final = 1024
# Heartbeat rounds without a sign of life after which a ping has been sent and its pong is due.
ROUNDS_UNTIL_PONG: Final = 2


class Connection(Writer):
    """A client after its upgrade; the hub's Member. Has no task, queue or parser while it is idle."""

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
        services: TransportServices,
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
        # Made for frames that `read_frames` cannot read, or that are not complete.
        self.parser: FrameParser | None = None
        # Heartbeat rounds without a sign of life.
        self.silent = 0

    # --- bytes in

    def data_received(self, data: bytes) -> None:
        """Process the messages in `data`."""
        self.silent = 0
        if self.state is not State.OPEN:
            closing.await_peer_close(self, data, FRAMES_PER_TURN)
            return
        try:
            self._read(data)
        except Exception:
            log.exception("internal error", connection=self.id)
            self._end_after_error()

    def process(self, messages: Sequence[Message]) -> None:
        """Process messages of the session's backlog. They were counted when they were read."""
        try:
            self.session.perform(messages)
        except Exception:
            log.exception("internal error", connection=self.id)
            self._end_after_error()

    def _end_after_error(self) -> None:
        """Close with 1011 after an unexpected exception, or abort a connection that is already closing."""
        if self.state is State.OPEN:
            self.end(1011, "internal error", label="internal")
        else:
            self.transport.abort()

    def _read(self, data: bytes) -> None:
        parser = self.parser
        if parser is not None:
            self._read_with_parser(parser, data)
            return
        messages, used = read_frames(data, 0, self.services.config.max_message_bytes, FRAMES_PER_TURN)
        if messages:
            self.session.receive(messages)
        if used < len(data) and self.state is State.OPEN:
            self._read_with_parser(self.open_parser(), data[used:] if used else data)

    def open_parser(self) -> FrameParser:
        """Make the parser that reads all further frames until it is idle."""
        config = self.services.config
        inflater = None if self.deflate is None else Inflater(config.max_message_bytes, self.services.windows, self.id)
        self.parser = parser = FrameParser(config.max_message_bytes, config.max_fragments, inflater)
        return parser

    def _read_with_parser(self, parser: FrameParser, data: bytes) -> None:
        """Process bytes that end within a frame, or that have frames which `read_frames` leaves to wsproto."""
        messages = parser.feed(data, FRAMES_PER_TURN)
        if messages:
            self.session.receive(messages)
        if self.state is not State.OPEN:
            return
        if parser.failure is not None:
            self.fail(parser.failure)
            return
        heartbeat = self.services.heartbeat
        if parser.is_idle:
            self.parser = None
            heartbeat.unfinished.forget(self)
            return
        if parser.has_backlog:
            self.pause_reading()
            asyncio.get_running_loop().call_soon(self._next_turn)
        heartbeat.unfinished.note(self, parser, heartbeat.now)

    def _next_turn(self) -> None:
        """Process the rest of one read, after other connections had their turn."""
        if self.state is not State.OPEN or self.session.backlog is not None or self.publisher_pause is not None:
            return  # `resume_reading` is called when the pause is over
        self.data_received(b"")
        if self.parser is None or not self.parser.has_backlog:
            self.resume_reading()

    def control(self, opcode: int, payload: bytes) -> None:
        """Answer a ping or a close frame."""
        if opcode == PING:
            self.session.write_reply_frame(pong_frame(payload))
        elif opcode == CLOSE:
            closing.answer_close(self, payload)

    def eof_received(self) -> bool:
        """The peer has closed its half. Returns False, so that the transport closes once everything is written."""
        closing.peer_ended(self)
        return False

    # --- flow control of reading

    def resume_reading(self) -> None:
        """Read again, unless the client is crowded, publishes too much, or waits for an answer."""
        if self.transport.is_closing() or self.publisher_pause is not None or self.is_crowded:
            return
        session = self.session
        if session.is_held:
            session.is_held = False
            asyncio.get_running_loop().call_soon(resume, session)
        if session.backlog is not None:
            return  # the session resumes reading when it has its answer
        if self.parser is not None and self.parser.has_backlog:
            asyncio.get_running_loop().call_soon(self._next_turn)
        else:
            self.transport.resume_reading()

    @property
    def is_reading(self) -> bool:
        """Whether the client is read from, so that what is missing is up to the client."""
        return self.session.backlog is None and self.publisher_pause is None and not self.is_crowded

    # --- heartbeat

    def check_liveness(self, rounds_until_idle: int, *, pings: bool) -> None:
        """Called once per heartbeat round: ping a client that was silent for a round, close one that stays silent.

        A client that is still receiving queued data does not count as silent: its pong comes after all that data.
        """
        self.silent += 1
        if self.silent == 1:
            return
        if self.silent > ROUNDS_UNTIL_PONG and self.services.heartbeat.is_catching_up(self):
            self.silent = ROUNDS_UNTIL_PONG
        elif self.silent > rounds_until_idle:
            self._end_idle()
        elif pings:
            self.write_control(self.session.form.ping_frame)

    def _end_idle(self) -> None:
        """Close with 1001 a client without a sign of life."""
        self.end(1001, "idle", label="idle")
        if self.outbox is None:
            self.transport.abort()
        elif reset(self.transport):
            self.was_cut()

    def probe(self, seconds: float) -> None:
        """Ping the client now, and close the connection as idle unless there is a sign of life within `seconds`."""
        if self.state is State.OPEN and self.services.heartbeat.watch_probe(self, seconds):
            self.silent = max(self.silent, 1)
            self.write_control(self.session.form.ping_frame)

    def end_probe(self) -> bool:
        """Called at the end of a probe that got no answer: close the client, and return whether it is closed.

        A client that is receiving queued data, or from which the server does not read at the moment, cannot answer.
        """
        is_read = self.session.backlog is None and self.publisher_pause is None
        if is_read and not self.services.heartbeat.is_catching_up(self):
            self._end_idle()
        return self.is_gone

    def expire(self) -> None:
        """Send an error and close with 4401, because the token has expired."""
        if self.state is State.OPEN:
            self.session.send_reply(Failure("unauthorized", "the token has expired"))
            self.end(4401, "token expired", label="expired")

    def revoke(self) -> None:
        """Send an error and close with 4401, because the token was revoked."""
        if self.state is State.OPEN:
            self.session.send_reply(Failure("unauthorized", "the token was revoked"))
            self.end(4401, "token revoked", label="revoked")

    # --- the end (see closing.py)

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closing or closed."""
        return self.state is not State.OPEN

    def end(self, code: int, reason: str, *, label: str) -> None:
        """Close with `code` and `reason`; `label` is the reason in metrics."""
        closing.close(self, code, reason, label=label)

    def fail(self, error: FastWSError) -> None:
        """Close because the peer violated the protocol."""
        closing.close_for_violation(self, error)

    def cut_off(self, channel: str) -> None:
        """Close as a slow consumer of `channel`."""
        closing.close_slow_consumer(self, channel)

    def was_cut(self) -> None:
        """The connection was reset, and data that the peer had not received was thrown away."""
        if self.state is State.CLOSING:
            self.services.lifecycle.close_undelivered(self)

    def was_left(self) -> None:
        """The process ends before the peer has received everything, and the kernel may still deliver the rest."""
        if self.state is State.CLOSING:
            self.services.lifecycle.log.close_unconfirmed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if self.state is State.OPEN:
            self.services.lifecycle.closed(self, 1006, "lost")
        if self.outbox is not None:
            closing.drop_outbox(self)
        closing.transition(self, Event.LOST)
        self.parser = None
        self.outbox = None
        if self.deflate is not None:
            self.services.windows.forget(self.id)
        self.services.lifecycle.gone(self)
        self.transport = CLOSED

    # --- the client as endpoints see it

    @property
    def waiting(self) -> tuple[int, int] | None:
        """(messages, bytes) queued for this client; None if nothing is queued."""
        outbox = self.outbox
        return None if outbox is None else (outbox.messages, outbox.size + self.transport.get_write_buffer_size())

    def deliver_direct(self, publication: Publication) -> bool:
        """Send `publication` to this client only. Returns False if its queue is full."""
        return self.session.deliver_direct(publication)

    def deliver_raw(self, body: bytes) -> bool:
        """Send `body` unchanged to this client only. Returns False if its queue is full."""
        return self.session.deliver_raw(body)

    def notify(self, reply: Reply) -> None:
        """Send an unsolicited message in the client's dialect."""
        if self.state is State.OPEN:
            self.session.send_reply(reply)

    @property
    def identity(self) -> Identity | None:
        """The identity of the client's token; None without a token."""
        return self.session.identity

    @property
    def user(self) -> str | None:
        """The user of the token, or as whom the client has signed in; None for neither."""
        session = self.session
        return session.starting.user if session.identity is None else session.identity.user

    @property
    def client_id(self) -> str | None:
        """The client id in the query of the upgrade; None without one."""
        mailbox = self.session.starting.mailbox
        return None if mailbox is None else mailbox.client_id

    @property
    def dialect_name(self) -> str:
        """The name of the client's dialect."""
        return self.session.form.dialect.name

    @property
    def realm(self) -> str | None:
        """The id of the app that the client belongs to; None in dialects without apps."""
        return self.session.form.dialect.realm

    @property
    def codec_name(self) -> str:
        """The name of the client's codec."""
        return self.session.form.codec.name

    @property
    def channel_names(self) -> list[str]:
        """The channels that the client is subscribed to."""
        return [audience.channel.name for audience in self.audiences]

    @property
    def connected_at(self) -> float:
        """Seconds since the epoch."""
        return self.session.connected_at

    @property
    def last_active_at(self) -> float:
        """Seconds since the epoch, with the precision of a heartbeat round."""
        return time.time() - self.silent * self.services.heartbeat.round_seconds
