"""Closing WebSocket connections (RFC 6455 section 7): from our side, from the peer's, and after violations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from fastws.errors import FastWSError, ProtocolViolation
from fastws.transport.closed_transport import CLOSED
from fastws.transport.connection_log import client_fields
from fastws.transport.states import TRANSITIONS, Event, State
from fastws.transport.writer import discard
from fastws.wire.frames import close_frame
from fastws.wire.opcodes import CLOSE

if TYPE_CHECKING:
    from fastws.transport.websocket import Connection

log = structlog.stdlib.get_logger("fastws.connection")

# Time that the peer has to answer our close frame, or to close the TCP connection, before it is aborted.
CLOSE_SECONDS: Final = 5.0
SLOW_CLOSE_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 2.0


def transition(connection: Connection, event: Event) -> None:
    """Enter the next state. A connection that leaves OPEN gets nothing more from the hub."""
    was_open = connection.state is State.OPEN
    connection.state = TRANSITIONS[(connection.state, event)]
    if was_open:
        if connection.parser is not None:
            connection.services.heartbeat.unfinished.forget(connection)
        connection.send = discard
        outbox = connection.outbox
        if outbox is not None:
            connection.resume_publishers(outbox)
        connection.session.backlog = None
        connection.services.lifecycle.left(connection)
        if outbox is not None:
            connection.drop_held()


def close(connection: Connection, code: int, reason: str, *, label: str) -> None:
    """Send a close frame. The peer has CLOSE_SECONDS to answer it before the connection is aborted."""
    if connection.state is not State.OPEN:
        return
    session = connection.session
    parting = session.form.dialect.parting(code, reason, label)
    code, reason = parting.code, parting.reason
    if parting.message is not None:
        session.write_reply_frame(session.form.plain(parting.message))
    connection.services.lifecycle.closed(connection, code, label, reason)
    session.uncork()
    connection.write_control(close_frame(code, reason))
    transition(connection, Event.WE_CLOSE)
    if not connection.transport.is_closing():
        connection.transport.resume_reading()  # to read the peer's close frame, whatever reading was paused for
    connection.services.heartbeat.abort_after(connection, CLOSE_SECONDS)


def close_for_violation(connection: Connection, error: FastWSError) -> None:
    """Send a close frame for a protocol violation, and close the TCP connection (RFC 6455 section 7.1.7)."""
    if connection.state is not State.OPEN:
        return
    code = error.violation_code if isinstance(error, ProtocolViolation) else error.close_code
    connection.services.lifecycle.closed(connection, code, error.code, error.message)
    connection.session.uncork()
    connection.write_control(close_frame(code, error.message))
    transition(connection, Event.PEER_FAILS)
    connection.parser = None  # which may hold most of a message
    _close_our_half(connection)


def abandon(connection: Connection) -> None:
    """Undo an opening that failed: nothing counts or reaches `connection` any more, and its socket is left alone."""
    connection.session.cork = None
    if connection.state is State.OPEN:
        connection.services.lifecycle.closed(connection, 1011, "internal")
    transition(connection, Event.LOST)
    connection.services.lifecycle.gone(connection)
    connection.transport = CLOSED


def close_slow_consumer(connection: Connection, channel: str) -> None:
    """Drop the outbox and close with 1013. The close frame has SLOW_CLOSE_SECONDS to arrive."""
    outbox = connection.outbox
    dropped = 0 if outbox is None else outbox.clear()
    connection.services.counters.dropped["slow_consumer"] += dropped
    log.warning("client removed: slow consumer", channel=channel, dropped=dropped, **client_fields(connection))
    connection.end(1013, "slow consumer", label="slow_consumer")
    connection.services.heartbeat.abort_after(connection, SLOW_CLOSE_SECONDS)


def answer_close(connection: Connection, payload: bytes) -> None:
    """Echo the peer's close code (RFC 6455 section 5.5.1), then close the TCP connection, as servers do."""
    if connection.state is not State.OPEN:
        return
    code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
    connection.services.lifecycle.closed(connection, code, "client", payload[2:].decode("utf-8", "replace"))
    connection.session.uncork()
    drop_outbox(connection)
    connection.write_control(close_frame(code if code != 1005 else 1000))
    transition(connection, Event.PEER_CLOSES)
    _close_transport(connection)


def await_peer_close(connection: Connection, data: bytes, max_frames: int) -> None:
    """After our close frame, discard everything until the peer's close frame; reads at most `max_frames` of `data`."""
    if connection.state is not State.CLOSING:
        return
    parser = connection.parser or connection.open_parser()
    events = parser.feed(data, max_frames)
    if parser.failure is not None or parser.has_backlog or any(opcode == CLOSE for opcode, _ in events):
        transition(connection, Event.PEER_CLOSES)
        _close_transport(connection)


def peer_ended(connection: Connection) -> None:
    """The peer has closed its half without a close frame: give it CLOSE_SECONDS to take what is being written."""
    if connection.state is State.OPEN:
        connection.services.lifecycle.closed(connection, 1006, "lost")
    transition(connection, Event.PEER_FAILS)
    drop_outbox(connection)
    connection.services.heartbeat.abort_after(connection, CLOSE_SECONDS)


def drop_outbox(connection: Connection) -> None:
    """Drop and count the messages in the outbox."""
    if connection.outbox is not None:
        connection.services.counters.dropped["closed"] += connection.outbox.clear()


def _close_transport(connection: Connection) -> None:
    """Close the TCP connection once everything is written, including the outbox."""
    _flush_outbox(connection)
    connection.transport.close()
    connection.services.heartbeat.abort_after(connection, CLOSE_SECONDS)


def _flush_outbox(connection: Connection) -> None:
    outbox = connection.outbox
    if outbox is not None:
        while batch := outbox.take():
            connection.transport.writelines(batch)


def _close_our_half(connection: Connection) -> None:
    """Close our half, then read and discard what the peer still sends until it has closed, too.

    A close with unread bytes resets the connection and may destroy the close frame (as RFC 9112 section 9.6 explains).
    """
    _flush_outbox(connection)
    if connection.transport.can_write_eof():
        connection.transport.write_eof()
        connection.transport.resume_reading()
        connection.services.heartbeat.abort_after(connection, LINGER_SECONDS)
    else:
        _close_transport(connection)
