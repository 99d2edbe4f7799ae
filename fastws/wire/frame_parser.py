"""The parser: cut frames, fragments, closes and everything odd, judged by wsproto under limits of our own."""

from __future__ import annotations

from io import BytesIO
from struct import Struct

from wsproto.frame_protocol import Frame, FrameProtocol, ParseFailed

from fastws.errors import ProtocolViolation
from fastws.wire.deflate import Inflater
from fastws.wire.frame_reader import read_frames
from fastws.wire.masking import apply_mask
from fastws.wire.opcodes import BINARY, CLOSE, CONTINUATION, TEXT

_MASKED = 0x80
_RSV1 = 0x40
# Bytes of a header without its masking key, by the 7-bit length (RFC 6455 section 5.2).
_HEADER_BYTES = {126: 4, 127: 10}
_NO_HEADER = -1
# So many plain frames take the time of one that goes through wsproto (benchmarks/test_frames.py).
_SLOW_FRAME_COST = 8
_NO_STATUS = 1005
_pack_code = Struct("!H").pack
# What a close says where the parser's own text would show its internals.
_REASONS = {1007: "text that is not UTF-8, or data that is not deflate", 1009: "message too large"}


class FrameParser:
    """Reads one client's frames where the direct reader could not; dropped as soon as `is_idle`.

    It reads each header first, so that limits act before the payload is there, unmasks in C, and hands
    wsproto the plain frame piece by piece: wsproto decides what is valid. (It does so in a client's role,
    whose incoming frames are unmasked.) At a message boundary the direct reader takes over again.

    `max_fragments` counts the frames of one message, empty ones too. `inflater` is there when
    permessage-deflate was agreed. Memory: at most `max_message_bytes`, one read, and a zlib stream inside a
    compressed message.
    """

    __slots__ = (
        "_backlogged",
        "_compressed",
        "_data",
        "_finished",
        "_fragments",
        "_in_message",
        "_left",
        "_mask",
        "_max_fragments",
        "_max_message_bytes",
        "_message",
        "_position",
        "_protocol",
        "_wire_bytes",
        "failure",
    )

    def __init__(self, max_message_bytes: int, max_fragments: int, inflater: Inflater | None = None) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_fragments = max_fragments
        self._protocol = FrameProtocol(client=True, extensions=[] if inflater is None else [inflater])
        self.failure: ProtocolViolation | None = None
        self._finished = False
        self._backlogged = False
        self._data = b""
        self._position = 0
        # The frame under way: payload bytes still to come, and the masking key turned to the next one.
        self._left = _NO_HEADER
        self._mask = b""
        # The message under way.
        self._in_message = False
        self._compressed = False
        self._fragments = 0
        self._wire_bytes = 0
        self._message: BytesIO | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and the next byte begins a message: the parser may be dropped."""
        return (
            self._left == _NO_HEADER
            and not self._in_message
            and self._position == len(self._data)
            and not self._finished
        )

    @property
    def has_backlog(self) -> bool:
        """Whether the budget ended before the bytes did: feed nothing more, but b"" in the next loop turn."""
        return self._backlogged

    def feed(self, data: bytes, budget: int) -> list[tuple[int, bytes]]:
        """The messages and control frames that `data` completes, in order, for at most `budget` frames.

        One that is not plain counts for 8 in the budget, as it takes as long; one at least is always read.
        Messages are whole and inflated, text is UTF-8; a close carries its valid payload. After a close, or
        once `failure` is set, nothing more is read. `failure` has the close code: 1002, 1007, 1008 or 1009.

        Cost: 10 µs per frame that goes through wsproto (benchmarks/test_frames.py).
        """
        events: list[tuple[int, bytes]] = []
        if self._finished:
            return events
        if data:
            self._data = self._data[self._position :] + data
            self._position = 0
        try:
            budget = self._read(events, budget)
        except ParseFailed as error:
            code = int(error.code)
            self._fail(ProtocolViolation(_REASONS.get(code, str(error)), violation_code=code))
        except ProtocolViolation as violation:
            self._fail(violation)
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            # The parser is not meant to raise these; if it does, the bytes were still the client's.
            self._fail(ProtocolViolation(f"unreadable frame: {type(error).__name__}"))
        self._settle(budget)
        return events

    def _fail(self, violation: ProtocolViolation) -> None:
        self.failure = violation
        self._finished = True

    def _settle(self, budget: int) -> None:
        """Hold on to no more than what is needed when the next bytes come."""
        if self._finished:
            self._position = len(self._data)
            self._message = None
        self._backlogged = budget <= 0 and self._position < len(self._data)
        if not self._backlogged:
            self._data = self._data[self._position :]
            self._position = 0

    def _read(self, events: list[tuple[int, bytes]], budget: int) -> int:
        """Read until the bytes or the budget end; the budget that is left."""
        while budget > 0 and not self._finished:
            if self._left == _NO_HEADER:
                if not self._in_message:
                    budget -= self._read_plain(events, budget)
                    if budget <= 0:
                        break
                if not self._read_header(events):
                    break
            if self._left > 0 and not self._read_payload(events):
                break
            self._left = _NO_HEADER
            budget -= _SLOW_FRAME_COST
        return budget

    def _read_plain(self, events: list[tuple[int, bytes]], budget: int) -> int:
        found, self._position = read_frames(self._data, self._position, self._max_message_bytes, budget)
        for event in found:
            if event[0] == TEXT and not event[1].isascii():
                try:
                    event[1].decode()
                except UnicodeDecodeError:
                    raise ProtocolViolation(_REASONS[1007], violation_code=1007) from None
            events.append(event)
        return len(found)

    def _read_header(self, events: list[tuple[int, bytes]]) -> bool:
        """Judge the next frame's header; whether it was there. Limits act here, before the payload."""
        data, start = self._data, self._position
        if len(data) - start < 2:
            return False
        first, second = data[start], data[start + 1]
        if second < _MASKED:
            raise ProtocolViolation("frames from a client must be masked")
        length = second - _MASKED
        after = start + _HEADER_BYTES.get(length, 2)
        # The key of an empty frame is waited for, the others' is read with the payload: a header that is
        # over a limit fails at once.
        if len(data) < (after + 4 if length == 0 else after):
            return False
        frames = self._judge(bytes((first, length)) + data[start + 2 : after])
        if length > 125:
            length = int.from_bytes(data[start + 2 : after], "big")
        self._admit(first, length)
        self._position = after if length else after + 4
        self._left = length
        self._mask = b""
        self._collect(frames, events)
        return True

    def _admit(self, first: int, length: int) -> None:
        """Count the frame with this first byte and payload length against the limits of its message."""
        opcode = first & 0x0F
        if opcode >= CLOSE:
            return
        if (opcode == CONTINUATION) != self._in_message:
            raise ProtocolViolation("a continuation belongs to a message, and nothing else may interrupt one")
        if opcode != CONTINUATION:
            self._compressed = bool(first & _RSV1)
        self._in_message = True
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise ProtocolViolation(f"a message has at most {self._max_fragments} fragments", violation_code=1008)
        self._wire_bytes += length
        limit = self._max_message_bytes
        if self._compressed:
            # Deflate may make a message larger, by less than zlib's own bound; the inflater guards the limit.
            limit += (limit >> 3) + 1024
        if self._wire_bytes > limit:
            raise ProtocolViolation(_REASONS[1009], violation_code=1009)

    def _read_payload(self, events: list[tuple[int, bytes]]) -> bool:
        """Hand on what is there of the frame's payload; whether that was all of it."""
        data, start = self._data, self._position
        mask = self._mask
        if not mask:
            if len(data) - start < 4:
                return False
            mask = self._mask = data[start : start + 4]
            start += 4
        piece = data[start : start + self._left]
        self._position = start + len(piece)
        if not piece:
            return False
        self._left -= len(piece)
        turn = len(piece) % 4
        self._mask = mask[turn:] + mask[:turn]
        self._collect(self._judge(apply_mask(piece, mask)), events)
        return self._left == 0

    def _judge(self, plain: bytes) -> list[Frame]:
        self._protocol.receive_bytes(plain)
        return list(self._protocol.received_frames())

    def _collect(self, frames: list[Frame], events: list[tuple[int, bytes]]) -> None:
        for frame in frames:
            opcode = int(frame.opcode)
            payload = frame.payload
            if opcode in (TEXT, BINARY):
                self._collect_data(
                    opcode,
                    payload.encode() if isinstance(payload, str) else bytes(payload),  # type: ignore[arg-type]
                    events,
                    finished=frame.message_finished,
                )
            elif isinstance(payload, tuple):
                code, reason = payload
                events.append((CLOSE, b"" if code == _NO_STATUS else _pack_code(code) + reason.encode()))
                self._finished = True
            else:
                events.append((opcode, bytes(payload)))  # type: ignore[arg-type]

    def _collect_data(self, opcode: int, part: bytes, events: list[tuple[int, bytes]], *, finished: bool) -> None:
        message = self._message
        if finished:
            if message is not None:
                message.write(part)
                part = message.getvalue()
            events.append((opcode, part))
            self._message = None
            self._in_message = False
            self._fragments = self._wire_bytes = 0
        elif part:
            if message is None:
                message = self._message = BytesIO()
            message.write(part)
