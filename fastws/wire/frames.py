"""Outgoing frames: final and unmasked, built once per wire form and shared by all its subscribers."""

from __future__ import annotations

from struct import Struct
from typing import Final

from fastws.wire.opcodes import BINARY, CLOSE, MAX_CONTROL_PAYLOAD, PING, PONG, TEXT

_FIN = 0x80
_RSV1 = 0x40
_MAX_REASON_BYTES = MAX_CONTROL_PAYLOAD - 2
# Looking up a header takes half the time of building it (benchmarks/test_frames.py).
_SHORT_HEADERS = {
    first: tuple(bytes((first, length)) for length in range(126))
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
    for first in (_FIN | opcode, _FIN | _RSV1 | opcode)
}
_pack_16 = Struct("!BBH").pack
_pack_64 = Struct("!BBQ").pack
_pack_code = Struct("!H").pack


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """Build a final, unmasked frame (RFC 6455 section 5.2) with `payload`.

    `compressed` sets RSV1: `payload` is a result of `deflate` (RFC 7692 section 6). The payload of a control frame
    must be at most 125 bytes, which is not checked.

    Cost: 0.2 µs for 100 bytes (benchmarks/test_frames.py).
    """
    length = len(payload)
    first = _FIN | _RSV1 | opcode if compressed else _FIN | opcode
    if length < 126:
        return _SHORT_HEADERS[first][length] + payload
    if length < 65536:
        return _pack_16(first, 126, length) + payload
    return _pack_64(first, 127, length) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Build a close frame (RFC 6455 section 5.5.1). `reason` is cut to 123 bytes at a character boundary."""
    text = reason.encode("utf-8", "replace")
    if len(text) > _MAX_REASON_BYTES:
        text = text[:_MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    return frame(CLOSE, _pack_code(code) + text)


def pong_frame(payload: bytes) -> bytes:
    """Build the answer to a ping with the same payload (RFC 6455 section 5.5.3)."""
    return frame(PONG, payload)


def is_utf8(payload: bytes) -> bool:
    """Whether `payload` is valid UTF-8, as a text frame requires (RFC 6455 section 5.6)."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


PING_FRAME: Final = frame(PING, b"")
