"""Unfinished messages: each must arrive within a minute, and all together hold a bounded number of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fastws.errors import ProtocolViolation, Unavailable
from fastws.wire.frame_parser import FrameParser

if TYPE_CHECKING:
    from fastws.transport.websocket import Connection

MESSAGE_SECONDS: Final = 60.0
MAX_BYTES: Final = 67_108_864
# At least so many messages of max_message_bytes may be under way, however large that is.
MIN_MESSAGES: Final = 4


class _Unfinished(NamedTuple):
    """When the message began (monotonic seconds), how many the parser had finished before, and the bytes it holds."""

    begun: float
    finished: int
    held_bytes: int


class UnfinishedMessages:
    """The connections of which a part of a message has arrived.

    Without a deadline a client could keep what it has sent in memory for as long as it answers pings. Over the limit of
    bytes, the oldest message is given up: others that are being sent at full speed are finished long before.
    """

    __slots__ = ("_bytes", "_max_bytes", "_of")

    def __init__(self, max_message_bytes: int = 0) -> None:
        self._max_bytes = max(MAX_BYTES, MIN_MESSAGES * max_message_bytes)
        # The oldest first.
        self._of: dict[Connection, _Unfinished] = {}
        self._bytes = 0

    def note(self, connection: Connection, parser: FrameParser, now: float) -> None:
        """`connection` has sent a part of a message, which `parser` holds. May close it or others."""
        before = self._of.get(connection)
        held_bytes, begun = parser.held_bytes, now
        if before is not None:
            self._bytes -= before.held_bytes
            if before.finished == parser.finished_messages:
                begun = before.begun
            else:
                del self._of[connection]  # to be the youngest
        self._of[connection] = _Unfinished(begun, parser.finished_messages, held_bytes)
        self._bytes += held_bytes
        while self._bytes > self._max_bytes:
            self._take_oldest().fail(Unavailable("too many unfinished messages at a time; try again later"))

    def forget(self, connection: Connection) -> None:
        """The message of `connection` is complete, or nothing is read from it any more. Idempotent."""
        known = self._of.pop(connection, None)
        if known is not None:
            self._bytes -= known.held_bytes

    def close_overdue(self, now: float) -> None:
        """Close the connections whose message has not arrived in time, unless the server has stopped reading it."""
        while self._of:
            connection, oldest = next(iter(self._of.items()))
            if oldest.begun + MESSAGE_SECONDS > now:
                return
            if connection.is_reading:
                text = f"a message must be complete within {MESSAGE_SECONDS:g} seconds"
                self._take_oldest().fail(ProtocolViolation(text, violation_code=1008))
            else:
                self._of[connection] = self._of.pop(connection)._replace(begun=now)

    def _take_oldest(self) -> Connection:
        """Forget the connection with the oldest message and return it."""
        connection = next(iter(self._of))
        self.forget(connection)
        return connection
