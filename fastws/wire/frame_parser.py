"""The frame parser: partial frames, fragments, closes and unusual frames, validated by wsproto and our limits."""

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
# A frame that goes through wsproto takes as long as this many plain frames (benchmarks/test_frames.py).
_SLOW_FRAME_COST = 8
# Inflated bytes that take, read and decoded, about as long as one plain frame.
_INFLATED_BYTES_PER_FRAME = 256
_NO_STATUS = 1005
_pack_code = Struct("!H").pack
# Close reasons that replace texts of wsproto which would show internals.
_REASONS = {1007: "text that is not UTF-8, or data that is not deflate", 1009: "message too large"}


class FrameParser:
    """Parses one client's frames that `read_frames` cannot. Dropped as soon as `is_idle`.

    Headers are parsed first, so that limits apply before the payload arrives. Payloads are unmasked in C and passed
    to wsproto in pieces, which validates them. (wsproto runs in the role of a client, whose incoming frames are
    unmasked.) At a message boundary `read_frames` takes over again.

    `max_fragments` limits the frames of one message, including empty ones. `inflater` is given if permessage-deflate
    was negotiated. Memory: at most `max_message_bytes`, one read, and a zlib stream during a compressed message.
    """

    __slots__ = (
        "_backlogged",
        "_compressed",
        "_data",
        "_finished",
        "_fragments",
        "_in_message",
        "_inflated_bytes",
        "_left",
        "_mask",
        "_max_fragments",
        "_max_message_bytes",
        "_message",
        "_position",
        "_protocol",
        "_wire_bytes",
        "failure",
        "finished_messages",
    )

    def __init__(self, max_message_bytes: int, max_fragments: int, inflater: Inflater | None = None) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_fragments = max_fragments
        self._protocol = FrameProtocol(client=True, extensions=[] if inflater is None else [inflater])
        self.failure: ProtocolViolation | None = None
        # Counts data messages and frames between messages: it changes when another message may begin.
        self.finished_messages = 0
        self._finished = False
        self._backlogged = False
        self._data = b""
        self._position = 0
        # The current frame: payload bytes still to come, and the masking key rotated to the next byte.
        self._left = _NO_HEADER
        self._mask = b""
        # The current message.
        self._in_message = False
        self._compressed = False
        self._fragments = 0
        self._wire_bytes = 0
        self._message: BytesIO | None = None
        # Bytes inflated since the last frame was charged to the budget.
        self._inflated_bytes = 0

    @property
    def is_idle(self) -> bool:
        """Whether no bytes are held and the next byte begins a message, so that the parser may be dropped."""
        return (
            self._left == _NO_HEADER
            and not self._in_message
            and self._position == len(self._data)
            and not self._finished
        )

    @property
    def held_bytes(self) -> int:
        """The bytes of an unfinished message, or of the rest of a read, that are held."""
        return len(self._data) - self._position + (0 if self._message is None else self._message.tell())

    @property
    def has_backlog(self) -> bool:
        """Whether the budget was used up before all bytes were read. Then feed only b"" in the next loop iteration."""
        return self._backlogged

    def feed(self, data: bytes, budget: int) -> list[tuple[int, bytes]]:
        """Parse `data` and return the messages and control frames that it completes, as (opcode, payload), in order.

        Reads at most `budget` frames, but at least one. A frame that goes through wsproto counts as 8, and each 256
        inflated bytes as one. Messages are complete and inflated, text is valid UTF-8, and a close has a valid payload.
        After a close nothing more is read, nor once `failure` is set, whose `violation_code` is 1002, 1007, 1008 or
        1009.

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
            # wsproto should not raise these. If it does, the client's bytes caused it.
            self._fail(ProtocolViolation(f"unreadable frame: {type(error).__name__}"))
        self._trim(budget)
        return events

    def _fail(self, violation: ProtocolViolation) -> None:
        self.failure = violation
        self._finished = True

    def _trim(self, budget: int) -> None:
        """Drop the bytes that are no longer needed."""
        if self._finished:
            self._position = len(self._data)
            self._message = None
        self._backlogged = budget <= 0 and self._position < len(self._data)
        if not self._backlogged:
            self._data = self._data[self._position :]
            self._position = 0

    def _read(self, events: list[tuple[int, bytes]], budget: int) -> int:
        """Read until the bytes or the budget are used up. Return the remaining budget."""
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
            budget -= _SLOW_FRAME_COST + self._inflated_bytes // _INFLATED_BYTES_PER_FRAME
            self._inflated_bytes = 0
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
        self.finished_messages += len(found)
        return len(found)

    def _read_header(self, events: list[tuple[int, bytes]]) -> bool:
        """Parse and check the next header, before its payload arrives. Return False if the header is incomplete."""
        data, start = self._data, self._position
        if len(data) - start < 2:
            return False
        first, second = data[start], data[start + 1]
        if second < _MASKED:
            raise ProtocolViolation("frames from a client must be masked")
        length = second - _MASKED
        after = start + _HEADER_BYTES.get(length, 2)
        # An empty frame is complete with its masking key. For all others the key is read with the payload, so that a
        # header over a limit fails at once.
        if len(data) < (after + 4 if length == 0 else after):
            return False
        frames = self._validate(bytes((first, length)) + data[start + 2 : after])
        if length > 125:
            length = int.from_bytes(data[start + 2 : after], "big")
        self._check_limits(first, length)
        self._position = after if length else after + 4
        self._left = length
        self._mask = b""
        self._collect(frames, events)
        return True

    def _check_limits(self, first: int, length: int) -> None:
        """Count a frame with this first byte and payload length against the limits of its message."""
        opcode = first & 0x0F
        if opcode >= CLOSE:
            return
        if (opcode == CONTINUATION) != self._in_message:
            raise ProtocolViolation("unexpected continuation frame, or a new message inside a fragmented one")
        if opcode != CONTINUATION:
            self._compressed = bool(first & _RSV1)
        self._in_message = True
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise ProtocolViolation(f"a message has at most {self._max_fragments} fragments", violation_code=1008)
        self._wire_bytes += length
        limit = self._max_message_bytes
        if self._compressed:
            # Deflate may enlarge a message, by less than this bound of zlib; the inflater checks the limit itself.
            limit += (limit >> 3) + 1024
        if self._wire_bytes > limit:
            raise ProtocolViolation(_REASONS[1009], violation_code=1009)

    def _read_payload(self, events: list[tuple[int, bytes]]) -> bool:
        """Process the available payload of the current frame. Return whether the frame is complete."""
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
        self._collect(self._validate(apply_mask(piece, mask)), events)
        return self._left == 0

    def _validate(self, plain: bytes) -> list[Frame]:
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
        if self._compressed:
            self._inflated_bytes += len(part)
        message = self._message
        if finished:
            if message is not None:
                message.write(part)
                part = message.getvalue()
            events.append((opcode, part))
            self._message = None
            self._in_message = False
            self.finished_messages += 1
            self._fragments = self._wire_bytes = 0
        elif part:
            if message is None:
                message = self._message = BytesIO()
            message.write(part)
