"""What the tests of the wire room share: a client's frames, and wsproto alone as the judge of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from wsproto.extensions import Extension
from wsproto.frame_protocol import FrameProtocol, ParseFailed

from fastws.errors import ProtocolViolation
from fastws.wire.frame_parser import FrameParser
from fastws.wire.masking import apply_mask_in_python

Event = tuple[int, bytes]
KEY = b"\x1d\x9a\x00\xe7"


def client_frame(opcode: int, payload: bytes, *, final: bool = True, rsv: int = 0, key: bytes = KEY) -> bytes:
    length = len(payload)
    first = (0x80 if final else 0) | rsv << 4 | opcode
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 65536:
        header = bytes((first, 0xFE)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, 0xFF)) + length.to_bytes(8, "big")
    return header + key + apply_mask_in_python(payload, key)


def ask_wsproto(data: bytes, extensions: Sequence[Extension] = ()) -> tuple[list[Event], int | None]:
    """The messages and control frames that wsproto alone finds in `data`, and its close code if it fails."""
    protocol = FrameProtocol(client=False, extensions=list(extensions))
    protocol.receive_bytes(data)
    events: list[Event] = []
    parts: list[bytes] = []
    try:
        for frame in protocol.received_frames():
            payload = frame.payload
            if isinstance(payload, tuple):
                code, reason = payload
                events.append((8, b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()))
                continue
            raw = payload.encode() if isinstance(payload, str) else bytes(payload)
            if frame.opcode >= 8:
                events.append((int(frame.opcode), raw))
                continue
            parts.append(raw)
            if frame.message_finished:
                events.append((int(frame.opcode), b"".join(parts)))
                parts = []
    except ParseFailed as error:
        return events, int(error.code)
    return events, None


def feed_in_pieces(
    parser: FrameParser, data: bytes, cuts: Sequence[int], budget: int
) -> tuple[list[Event], ProtocolViolation | None]:
    """Feed `data` cut at `cuts`, each piece until nothing is left over from it."""
    events: list[Event] = []
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(borders):
        events += parser.feed(data[start:stop], budget)
        while parser.has_backlog:
            events += parser.feed(b"", budget)
    return events, parser.failure


@pytest.fixture(scope="session")
def masked() -> Callable[..., bytes]:
    return client_frame


@pytest.fixture(scope="session")
def wsproto_alone() -> Callable[..., tuple[list[Event], int | None]]:
    return ask_wsproto


@pytest.fixture(scope="session")
def in_pieces() -> Callable[..., tuple[list[Event], ProtocolViolation | None]]:
    return feed_in_pieces
