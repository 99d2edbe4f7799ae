"""permessage-deflate: what is agreed to, what goes out and what may come in (RFC 7692)."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

from fastws.wire.deflate import Inflater, deflate, negotiate
from fastws.wire.frame_parser import FrameParser
from fastws.wire.frames import frame
from fastws.wire.opcodes import BINARY, CONTINUATION, PING, TEXT

Masked = Callable[..., bytes]
Alone = Callable[..., tuple[list[tuple[int, bytes]], int | None]]
InPieces = Callable[..., tuple[list[tuple[int, bytes]], object]]
MAX = 1 << 20
RSV1 = 4
PLAIN_ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    "offers",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=15; server_no_context_takeover",
        'permessage-deflate; client_max_window_bits="10"',
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate",
        "permessage-bzip2; level=9, permessage-deflate; client_max_window_bits",
        "permessage-deflate; unknown, permessage-deflate",
        " permessage-deflate ,",
    ],
)
def test_an_offer_is_taken_without_context_takeover_on_either_side(offers: str) -> None:
    agreed = negotiate(offers)
    assert agreed is not None
    assert agreed.response == PLAIN_ANSWER


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "permessage-bzip2",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=11",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=0x0f",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=1_0",
        "permessage-deflate; server_max_window_bits=١٥",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=",
        "permessage-deflate; unknown",
        "permessage-deflate; =",
        "permessage-deflate;",
        'permessage-deflate; client_max_window_bits="10',
        'x; y="a, permessage-deflate"',
    ],
)
def test_a_malformed_offer_is_declined(offers: str) -> None:
    assert negotiate(offers) is None


@pytest.mark.parametrize("bits", range(12, 16))
def test_all_clients_have_one_window_of_12_bits(bits: int) -> None:
    """Each window size would be a wire form of its own, which any client could make the server compress."""
    agreed = negotiate(f"permessage-deflate; server_max_window_bits={bits}")
    assert agreed is not None
    assert agreed.response == f"{PLAIN_ANSWER}; server_max_window_bits=12"
    payload = os.urandom(600) * 20
    inflate = zlib.decompressobj(-12)
    assert inflate.decompress(deflate(payload, 6) + b"\x00\x00\xff\xff") == payload


def test_a_client_with_a_smaller_window_gets_its_other_offer() -> None:
    agreed = negotiate("permessage-deflate; server_max_window_bits=10, permessage-deflate")
    assert agreed is not None
    assert agreed.response == PLAIN_ANSWER


def test_an_agreement_is_shared() -> None:
    assert negotiate("permessage-deflate") is negotiate("permessage-deflate; client_max_window_bits")


@pytest.mark.parametrize("payload", [b"", b"x", b"hello " * 1000, os.urandom(70_000)])
def test_what_goes_out_is_read_by_wsproto(payload: bytes) -> None:
    extension = PerMessageDeflate()
    extension.finalize(PLAIN_ANSWER)
    client = FrameProtocol(client=True, extensions=[extension])
    shared = frame(BINARY, deflate(payload, 6), compressed=True)
    client.receive_bytes(shared * 2)
    assert [bytes(found.payload) for found in client.received_frames()] == [payload, payload]


def parser(limit: int = MAX, max_fragments: int = 1000) -> FrameParser:
    return FrameParser(limit, max_fragments, Inflater(limit))


messages = st.tuples(
    st.sampled_from([TEXT, BINARY]),
    st.text(max_size=60).map(str.encode),
    st.booleans(),  # compressed
    st.lists(st.integers(0, 80), max_size=3),  # fragment borders
    st.booleans(),  # a ping in between
    st.integers(0, 15),  # 0: a byte of it is damaged
)


def frames_of(masked: Masked, message: tuple[int, bytes, bool, list[int], bool, int]) -> bytes:
    opcode, payload, compressed, borders, ping, damage = message
    if compressed:
        payload = deflate(payload, 6)
    if damage == 0 and payload:
        payload = bytes((payload[0] | 0x86,)) + payload[1:]  # block type 3; no beginning of UTF-8
    at = [0, *sorted(border % (len(payload) + 1) for border in borders), len(payload)]
    data = b""
    for position in range(len(at) - 1):
        data += masked(
            CONTINUATION if position else opcode,
            payload[at[position] : at[position + 1]],
            final=position == len(at) - 2,
            rsv=RSV1 if compressed and not position else 0,
        )
        # wsproto 1.3 forgets at a control frame that the message is compressed, so none between its fragments.
        if ping and (not compressed or position == len(at) - 2):
            data += masked(PING, b"p")
    return data


@settings(derandomize=True, deadline=None, max_examples=300)
@given(sent=st.lists(messages, max_size=4), cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_compressed_and_plain_messages_are_read_as_by_wsproto(
    masked: Masked,
    wsproto_alone: Alone,
    in_pieces: InPieces,
    sent: list[tuple[int, bytes, bool, list[int], bool, int]],
    cuts: list[int],
) -> None:
    data = b"".join(frames_of(masked, message) for message in sent)
    extension = PerMessageDeflate()
    extension.accept(PLAIN_ANSWER)
    expected, code = wsproto_alone(data, [extension])
    events, failure = in_pieces(parser(), data, cuts, 3)
    assert events == expected
    assert getattr(failure, "violation_code", None) == code


def test_a_ping_between_compressed_fragments_changes_nothing(masked: Masked) -> None:
    payload = deflate(b"hello " * 50, 6)
    data = masked(TEXT, payload[:5], final=False, rsv=RSV1) + masked(PING, b"p")
    data += masked(CONTINUATION, payload[5:9], final=False) + masked(PING, b"p") + masked(CONTINUATION, payload[9:])
    assert parser().feed(data, 100) == [(PING, b"p"), (PING, b"p"), (TEXT, b"hello " * 50)]


def test_a_message_of_exactly_the_limit_is_taken_and_one_byte_more_is_1009(masked: Masked) -> None:
    for payload in (b"x" * 5000, os.urandom(5000)):
        reader = parser(5000)
        assert reader.feed(masked(BINARY, deflate(payload, 6), rsv=RSV1), 9) == [(BINARY, payload)]
        assert reader.is_idle
        assert reader.feed(masked(BINARY, deflate(payload + b"x", 6), rsv=RSV1), 9) == []
        assert reader.failure is not None
        assert reader.failure.violation_code == 1009


@pytest.mark.parametrize("fragments", [1, 10])
def test_a_bomb_never_holds_more_than_the_limit(masked: Masked, fragments: int) -> None:
    bomb = deflate(b"\x00" * (64 * MAX), 9)
    size = len(bomb) // fragments + 1
    pieces = [bomb[start : start + size] for start in range(0, len(bomb), size)]
    data = b"".join(
        masked(CONTINUATION if n else BINARY, piece, final=n == len(pieces) - 1, rsv=0 if n else RSV1)
        for n, piece in enumerate(pieces)
    )
    reader = parser()
    tracemalloc.start()
    try:
        assert reader.feed(data, 100) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reader.failure is not None
    assert reader.failure.violation_code == 1009
    assert peak < 5 * MAX


def test_inflated_bytes_count_against_the_budget(masked: Masked) -> None:
    """Messages just under the limit take few bytes to send and long to read: others must have a turn in between."""
    data = masked(TEXT, deflate(b" " * 131_072, 6), rsv=RSV1) * 20
    reader, turns = parser(), []
    turns.append(len(reader.feed(data, 1024)))
    while reader.has_backlog:
        turns.append(len(reader.feed(b"", 1024)))
    assert turns == [2] * 10
    small = masked(TEXT, deflate(b"hello " * 10, 6), rsv=RSV1) * 100
    assert len(reader.feed(small, 1024)) == 100


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\xff" * 10, 1007), (b"\x06\x00\x00\x00", 1007), (deflate(b"\xff", 6), 1007)],
)
def test_what_is_not_deflate_or_not_text_fails(masked: Masked, payload: bytes, code: int) -> None:
    reader = parser()
    assert reader.feed(masked(TEXT, payload, rsv=RSV1), 9) == []
    assert reader.failure is not None
    assert reader.failure.violation_code == code


def test_a_reference_before_the_beginning_of_the_message_fails(masked: Masked) -> None:
    """The peer may not refer to an earlier message: there is no context takeover."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    first = compressor.compress(b"abcdefgh" * 20) + compressor.flush(zlib.Z_SYNC_FLUSH)
    second = compressor.compress(b"abcdefgh" * 20) + compressor.flush(zlib.Z_SYNC_FLUSH)
    reader = parser()
    assert len(reader.feed(masked(TEXT, first[:-4], rsv=RSV1), 9)) == 1
    assert reader.feed(masked(TEXT, second[:-4], rsv=RSV1), 9) == []
    assert reader.failure is not None
    assert reader.failure.violation_code == 1007


@pytest.mark.parametrize("opcode", [PING, CONTINUATION])
def test_rsv1_belongs_on_the_first_frame_alone(masked: Masked, opcode: int) -> None:
    reader = parser()
    reader.feed(masked(TEXT, b"", final=False, rsv=RSV1), 9)
    assert reader.feed(masked(opcode, b"", rsv=RSV1), 9) == []
    assert reader.failure is not None
    assert reader.failure.violation_code == 1002


def test_rsv1_without_the_extension_fails(masked: Masked) -> None:
    reader = FrameParser(MAX, 10)
    assert reader.feed(masked(TEXT, deflate(b"a", 6), rsv=RSV1), 9) == []
    assert reader.failure is not None
    assert reader.failure.violation_code == 1002


def test_ten_thousand_empty_stored_blocks_are_an_empty_message(masked: Masked) -> None:
    reader = parser()
    data = masked(TEXT, b"\x00\x00\x00\xff\xff" * 10_000 + b"\x00", rsv=RSV1)
    assert reader.feed(data, 9) == [(TEXT, b"")]


def test_empty_stored_blocks_without_end_are_cut_off(masked: Masked) -> None:
    reader = parser(1000)
    reader.feed(masked(TEXT, b"\x00\x00\x00\xff\xff" * 10_000 + b"\x00", rsv=RSV1), 9)
    assert reader.failure is not None
    assert reader.failure.violation_code == 1009


def test_a_final_block_ends_the_message_and_nothing_may_follow_it(masked: Masked) -> None:
    """The example of RFC 7692 section 7.2.3.4, and the same with more after it, in one frame or cut."""
    hello = bytes.fromhex("f348cdc9c90700")
    assert parser().feed(masked(TEXT, hello + b"\x00", rsv=RSV1), 9) == [(TEXT, b"Hello")]
    assert parser().feed(masked(TEXT, hello, rsv=RSV1), 9) == [(TEXT, b"Hello")]
    for more in (hello, b"\x00\x00", b"x"):
        whole, cut = masked(TEXT, hello + more, rsv=RSV1), parser()
        reader = parser()
        assert reader.feed(whole, 9) == []
        for position in range(len(whole)):
            assert cut.feed(whole[position : position + 1], 9) == []
        for failure in (reader.failure, cut.failure):
            assert failure is not None
            assert failure.violation_code == 1007
