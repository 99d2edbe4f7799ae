"""What goes out is read back by wsproto's client side."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol

from fastws.wire.frames import PING_FRAME, close_frame, frame, pong_frame
from fastws.wire.opcodes import BINARY, PING, PONG, TEXT


def read_by_client(data: bytes) -> list[tuple[int, object]]:
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(data)
    return [(int(found.opcode), found.payload) for found in protocol.received_frames() if found.message_finished]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_a_frame_of_any_length_is_read_back(length: int) -> None:
    payload = b"x" * length
    assert read_by_client(frame(BINARY, payload)) == [(BINARY, payload)]
    assert read_by_client(frame(TEXT, payload)) == [(TEXT, payload.decode())]


def test_frames_can_be_joined() -> None:
    joined = frame(TEXT, b"a") + frame(TEXT, b"b")
    assert read_by_client(joined) == [(TEXT, "a"), (TEXT, "b")]


def test_a_compressed_frame_has_rsv1_and_nothing_else_changed() -> None:
    plain, compressed = frame(TEXT, b"abc"), frame(TEXT, b"abc", compressed=True)
    assert compressed == bytes((plain[0] | 0x40,)) + plain[1:]


def test_ping_and_pong() -> None:
    assert read_by_client(PING_FRAME) == [(PING, b"")]
    assert read_by_client(pong_frame(b"y" * 125)) == [(PONG, b"y" * 125)]


@settings(derandomize=True, deadline=None)
@given(st.sampled_from([1000, 1012, 1013, 4401]), st.text(max_size=200))
def test_a_close_reason_is_cut_between_characters(code: int, reason: str) -> None:
    ((_, payload),) = read_by_client(close_frame(code, reason))
    assert isinstance(payload, tuple)
    assert payload[0] == code
    assert reason.startswith(payload[1])
    assert len(payload[1].encode()) <= 123
    if len(reason.encode()) <= 123:
        assert payload[1] == reason


def test_a_long_reason_uses_the_room_there_is() -> None:
    assert len(close_frame(1000, "x" * 500)) == 2 + 125
    assert len(close_frame(1000, "é" * 500)) == 2 + 2 + 122


def test_a_reason_that_is_no_unicode_text_still_closes() -> None:
    assert read_by_client(close_frame(1000, "\ud800")) == [(8, (1000, "?"))]
