"""The parser gives what wsproto alone gives, however bytes are cut, and keeps the limits that wsproto lacks."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.wire.frame_parser import FrameParser
from fastws.wire.frame_reader import read_frames
from fastws.wire.opcodes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

Masked = Callable[..., bytes]
Alone = Callable[..., tuple[list[tuple[int, bytes]], int | None]]
InPieces = Callable[..., tuple[list[tuple[int, bytes]], object]]
MAX = 1 << 20

quick = settings(derandomize=True, deadline=None, max_examples=300)

# Mostly valid, so that sequences get somewhere: (opcode, payload, final, rsv).
payloads = st.one_of(
    st.text(max_size=12).map(str.encode),
    st.binary(max_size=12),
    st.integers(120, 130).map(lambda length: b"z" * length),
    st.sampled_from([1000, 1001, 1005, 1014, 3000, 4999, 5000]).map(lambda code: code.to_bytes(2, "big") + b"bye"),
)
frames = st.tuples(
    st.sampled_from([TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 3, 11]),
    payloads,
    st.sampled_from([True, True, True, False]),
    st.sampled_from([0] * 12 + [4, 2, 1]),
)
messages = st.builds(
    lambda opcode, parts, ping: (
        [
            (opcode if position == 0 else CONTINUATION, part, position == len(parts) - 1, 0)
            for position, part in enumerate(parts)
        ]
        + ([(PING, ping, True, 0)] if ping else [])
    ),
    st.sampled_from([TEXT, BINARY]),
    st.lists(st.text(max_size=10).map(str.encode), min_size=1, max_size=4),
    st.binary(max_size=5),
)
sequences = st.one_of(
    st.lists(frames, max_size=8),
    st.lists(messages, max_size=4).map(lambda lists: [frame for frames in lists for frame in frames]),
)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


def joined(masked: Masked, sequence: list[tuple[int, bytes, bool, int]]) -> bytes:
    return b"".join(masked(opcode, payload, final=final, rsv=rsv) for opcode, payload, final, rsv in sequence)


@quick
@given(sequence=sequences, cuts=cuts, budget=st.integers(1, 5))
def test_any_frames_cut_anywhere_are_judged_as_by_wsproto(
    masked: Masked,
    wsproto_alone: Alone,
    in_pieces: InPieces,
    sequence: list[tuple[int, bytes, bool, int]],
    cuts: list[int],
    budget: int,
) -> None:
    data = joined(masked, sequence)
    expected, code = wsproto_alone(data)
    events, failure = in_pieces(FrameParser(MAX, 1000), data, cuts, budget)
    assert events == expected
    assert getattr(failure, "violation_code", None) == code


@quick
@given(sequence=sequences, cut=st.integers(0, 10_000))
def test_the_direct_reader_and_the_inbox_together_are_wsproto(
    masked: Masked, wsproto_alone: Alone, sequence: list[tuple[int, bytes, bool, int]], cut: int
) -> None:
    data = joined(masked, sequence)
    expected, code = wsproto_alone(data)
    cut %= len(data) + 1
    events, used = read_frames(data[:cut], 0, MAX, 1000)
    parser = FrameParser(MAX, 1000)
    failure = 1007 if any(opcode == TEXT and not is_text(payload) for opcode, payload in events) else None
    if failure is None:
        events += parser.feed(data[used:cut], 1000)
        events += parser.feed(data[cut:], 1000)
        assert events == expected
        failure = parser.failure.violation_code if parser.failure else None
    assert failure == code


@quick
@given(data=st.binary(max_size=80), cuts=cuts)
def test_no_bytes_whatever_make_it_raise(in_pieces: InPieces, data: bytes, cuts: list[int]) -> None:
    whole = in_pieces(FrameParser(100, 5), data, [], 100)
    cut = in_pieces(FrameParser(100, 5), data, cuts, 3)
    assert whole[0] == cut[0]
    assert getattr(whole[1], "violation_code", None) == getattr(cut[1], "violation_code", None)


def is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_it_is_idle_only_at_a_message_boundary_with_nothing_held(masked: Masked) -> None:
    parser = FrameParser(MAX, 10)
    assert parser.is_idle
    data = masked(TEXT, b"ab", final=False) + masked(CONTINUATION, b"c")
    for position in range(len(data) - 1):
        assert parser.feed(data[position : position + 1], 10) == []
        assert not parser.is_idle
    assert parser.feed(data[-1:], 10) == [(TEXT, b"abc")]
    assert parser.is_idle


def test_control_frames_come_between_fragments_at_once(masked: Masked) -> None:
    parser = FrameParser(MAX, 10)
    assert parser.feed(masked(TEXT, b"a", final=False) + masked(PING, b"p"), 10) == [(PING, b"p")]
    assert parser.feed(masked(CONTINUATION, b"b"), 10) == [(TEXT, b"ab")]


def test_the_budget_leaves_a_backlog_for_the_next_turn(masked: Masked) -> None:
    parser = FrameParser(MAX, 100)
    data = masked(TEXT, b"", final=False) + masked(CONTINUATION, b"", final=False) + masked(CONTINUATION, b"x")
    for _ in range(2):
        assert parser.feed(data, 1) == []
        assert parser.has_backlog
        data = b""
    assert parser.feed(b"", 1) == [(TEXT, b"x")]
    assert not parser.has_backlog
    assert parser.is_idle


def test_plain_frames_count_once_and_others_by_their_cost(masked: Masked) -> None:
    plain, odd = masked(TEXT, b"a"), masked(BINARY, b"", final=False) + masked(CONTINUATION, b"")
    for data, budget, read in ((plain * 20, 16, 16), (odd * 20, 32, 2), (plain * 10 + odd * 5, 26, 11)):
        parser = FrameParser(MAX, 100)
        assert len(parser.feed(data, budget)) == read
        assert parser.has_backlog


def test_a_budget_that_ends_with_the_bytes_leaves_no_backlog(masked: Masked) -> None:
    parser = FrameParser(MAX, 100)
    assert parser.feed(masked(TEXT, b"a") * 3, 3) == [(TEXT, b"a")] * 3
    assert not parser.has_backlog
    assert parser.is_idle


def test_nothing_after_a_close_is_read(masked: Masked) -> None:
    parser = FrameParser(MAX, 100)
    close = masked(CLOSE, b"\x03\xe8bye")
    assert parser.feed(masked(TEXT, b"a") + close + masked(TEXT, b"b") + b"\xff\xff", 10) == [
        (TEXT, b"a"),
        (CLOSE, b"\x03\xe8bye"),
    ]
    assert parser.feed(masked(TEXT, b"c"), 10) == []
    assert parser.failure is None
    assert not parser.has_backlog
    assert not parser.is_idle


def test_events_before_a_failure_are_given_and_nothing_after_it(masked: Masked) -> None:
    parser = FrameParser(MAX, 100)
    assert parser.feed(masked(TEXT, b"a") + masked(3, b"") + masked(TEXT, b"b"), 10) == [(TEXT, b"a")]
    assert parser.failure is not None
    assert parser.failure.violation_code == 1002
    assert parser.feed(masked(TEXT, b"c"), 10) == []


@pytest.mark.parametrize("at_once", [True, False])
def test_bad_text_fails_before_its_frame_is_complete(masked: Masked, at_once: bool) -> None:
    parser = FrameParser(MAX, 100)
    data = masked(TEXT, "κόσμε".encode() + b"\xf4\x90\x80\x80" + b"edited")[:-6]
    for piece in [data] if at_once else [data[i : i + 1] for i in range(len(data))]:
        assert parser.feed(piece, 10) == []
    assert parser.failure is not None
    assert parser.failure.violation_code == 1007


def header(first: int, length: int) -> bytes:
    return bytes((first, 0xFF)) + length.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("length", "code"),
    [(1 << 63, 1002), ((1 << 64) - 1, 1002), (1 << 62, 1009), (MAX + 1, 1009), (65535, 1002)],
)
def test_a_length_that_cannot_be_fails_by_its_header_alone(length: int, code: int) -> None:
    parser = FrameParser(MAX, 100)
    assert parser.feed(header(0x82, length), 10) == []
    assert parser.failure is not None
    assert parser.failure.violation_code == code


def test_an_unmasked_frame_fails_by_its_first_two_bytes() -> None:
    parser = FrameParser(MAX, 100)
    assert parser.feed(b"\x81\x05", 10) == []
    assert parser.failure is not None
    assert (parser.failure.violation_code, parser.failure.message) == (1002, "frames from a client must be masked")


@pytest.mark.parametrize("first", [0x82, 0x02])
def test_a_message_inside_another_fails_by_its_header(masked: Masked, first: int) -> None:
    parser = FrameParser(MAX, 100)
    assert parser.feed(masked(TEXT, b"a", final=False) + bytes((first, 0x85)), 100) == []
    assert parser.failure is not None
    assert parser.failure.violation_code == 1002


def test_a_continuation_of_nothing_fails_by_its_header() -> None:
    parser = FrameParser(MAX, 100)
    assert parser.feed(b"\x80\x85", 100) == []
    assert parser.failure is not None
    assert parser.failure.violation_code == 1002


def test_a_message_of_exactly_the_limit_is_taken_and_fragments_over_it_fail_at_once(masked: Masked) -> None:
    parser = FrameParser(100, 100)
    data = masked(BINARY, b"x" * 60, final=False) + masked(CONTINUATION, b"y" * 40)
    assert parser.feed(data * 2, 100) == [(BINARY, b"x" * 60 + b"y" * 40)] * 2
    assert parser.feed(masked(BINARY, b"x" * 60, final=False), 10) == []
    assert parser.failure is None
    assert parser.feed(masked(CONTINUATION, b"y" * 41)[:2], 10) == []
    assert parser.failure is not None
    assert parser.failure.violation_code == 1009


def test_empty_fragments_count(masked: Masked) -> None:
    parser = FrameParser(MAX, 50)
    allowed = masked(TEXT, b"", final=False) + masked(CONTINUATION, b"", final=False) * 48
    assert parser.feed(allowed + masked(CONTINUATION, b""), 1000) == [(TEXT, b"")]
    assert parser.feed(allowed + masked(CONTINUATION, b"", final=False) + masked(PING, b""), 1000) == [(PING, b"")]
    assert parser.feed(masked(CONTINUATION, b""), 1000) == []
    assert parser.failure is not None
    assert parser.failure.violation_code == 1008


def test_a_big_message_in_small_reads_takes_linear_time_and_its_own_size_of_memory(masked: Masked) -> None:
    limit = 8 << 20
    data = masked(BINARY, b"x" * limit)
    parser = FrameParser(limit, 10)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        started = time.process_time()
        events: list[tuple[int, bytes]] = []
        for position in range(0, len(data), 4096):
            events += parser.feed(data[position : position + 4096], 10)
        seconds = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert [(opcode, len(payload)) for opcode, payload in events] == [(BINARY, limit)]
    assert seconds < 5  # a quadratic reader would move 8 GiB
    assert peak < 2.3 * limit


def test_a_header_that_promises_much_takes_no_memory() -> None:
    limit = 64 << 20
    tracemalloc.start()
    try:
        inboxes = [FrameParser(limit, 10) for _ in range(20)]
        for parser in inboxes:
            parser.feed(header(0x82, limit) + b"1234" + b"x" * 10, 10)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < 1 << 20
