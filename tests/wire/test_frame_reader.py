"""The direct reader takes plain frames and stops before everything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.wire.frame_reader import read_frames
from fastws.wire.opcodes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

Masked = Callable[..., bytes]
MAX = 1 << 20


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_whole_message_of_any_length_is_read(masked: Masked, opcode: int, length: int) -> None:
    data = masked(opcode, b"x" * length)
    assert read_frames(data, 0, MAX, 10) == ([(opcode, b"x" * length)], len(data))


def test_many_frames_come_in_order_and_the_position_moves_past_them(masked: Masked) -> None:
    sent = [(TEXT, b"a"), (PING, b"p"), (BINARY, b""), (PONG, b""), (TEXT, "é".encode())]
    data = b"skip" + b"".join(masked(*event) for event in sent)
    assert read_frames(data, 4, MAX, 10) == (sent, len(data))


def test_an_incomplete_frame_is_left_where_it_is(masked: Masked) -> None:
    whole, cut = masked(TEXT, b"a"), masked(BINARY, b"y" * 300)
    for kept in range(len(cut)):
        assert read_frames(whole + cut[:kept], 0, MAX, 10) == ([(TEXT, b"a")], len(whole))


def test_the_budget_counts_frames(masked: Masked) -> None:
    one = masked(TEXT, b"a")
    assert read_frames(one * 5, 0, MAX, 3) == ([(TEXT, b"a")] * 3, 3 * len(one))
    assert read_frames(one, 0, MAX, 0) == ([], 0)


def test_a_message_at_the_limit_is_read_and_one_over_it_is_left(masked: Masked) -> None:
    for limit in (0, 10, 125, 126, 300, 65536):
        at, over = masked(BINARY, b"x" * limit), masked(BINARY, b"x" * (limit + 1))
        assert read_frames(at, 0, limit, 9) == ([(BINARY, b"x" * limit)], len(at))
        assert read_frames(over, 0, limit, 9) == ([], 0)


def test_the_message_limit_is_not_for_control_frames(masked: Masked) -> None:
    data = masked(PING, b"p" * 125)
    assert read_frames(data, 0, 10, 9) == ([(PING, b"p" * 125)], len(data))


def odd_frames(masked: Masked) -> dict[str, bytes]:
    key = b"1234"
    return {
        "close": masked(CLOSE, b""),
        "first fragment": masked(TEXT, b"a", final=False),
        "continuation": masked(CONTINUATION, b"a"),
        "fragmented ping": masked(PING, b"", final=False),
        "RSV1": masked(TEXT, b"a", rsv=4),
        "RSV2": masked(TEXT, b"a", rsv=2),
        "RSV3": masked(PING, b"", rsv=1),
        "reserved data opcode": masked(3, b"a"),
        "reserved control opcode": masked(0xB, b"a"),
        "unmasked": b"\x81\x01a" + b"padding",
        "unmasked ping": b"\x89\x00" + b"padding",
        "unmasked with 126 and 127": b"\x81\x7e\x00\x7e" + b"x" * 200,
        "ping of 126 bytes": masked(PING, b"x" * 126),
        "length 5 in 2 bytes": b"\x81\xfe\x00\x05" + key + b"x" * 5,
        "length 125 in 2 bytes": b"\x81\xfe\x00\x7d" + key + b"x" * 125,
        "length 300 in 8 bytes": b"\x81\xff" + (300).to_bytes(8, "big") + key + b"x" * 300,
        "length 65535 in 8 bytes": b"\x81\xff" + (65535).to_bytes(8, "big") + key + b"x" * 65535,
        "length 2^63": b"\x82\xff" + (1 << 63).to_bytes(8, "big") + key + b"x" * 300,
        "length 2^64 - 1": b"\x82\xff" + b"\xff" * 8 + key + b"x" * 300,
    }


def test_everything_odd_is_left_to_the_inbox(masked: Masked) -> None:
    plain = masked(TEXT, b"a")
    for name, odd in odd_frames(masked).items():
        assert read_frames(plain + odd + plain, 0, MAX, 9) == ([(TEXT, b"a")], len(plain)), name


@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=st.binary(max_size=60), start=st.integers(0, 10))
def test_no_bytes_make_it_fail_or_read_past_the_end(data: bytes, start: int) -> None:
    _, position = read_frames(data, start, 100, 20)
    assert start <= position <= max(start, len(data))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from([TEXT, BINARY, PING, PONG]),
            st.text(max_size=40).map(str.encode),
            st.binary(min_size=4, max_size=4),
        ),
        max_size=8,
    )
)
def test_plain_frames_are_read_as_wsproto_reads_them(
    masked: Masked, wsproto_alone: Callable[..., object], frames: list[tuple[int, bytes, bytes]]
) -> None:
    data = b"".join(masked(opcode, payload[:125], key=key) for opcode, payload, key in frames)
    found, position = read_frames(data, 0, MAX, 100)
    assert position == len(data)
    try:
        for opcode, payload in found:
            if opcode == TEXT:
                payload.decode()
    except UnicodeDecodeError:
        return
    assert (found, None) == wsproto_alone(data)
