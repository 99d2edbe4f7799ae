"""What reading and writing frames costs: run with `pytest benchmarks/test_frames.py`."""

from __future__ import annotations

import os
from typing import Any

import pytest
from wsproto.frame_protocol import FrameProtocol

from fastws.wire.deflate import Inflater, deflate
from fastws.wire.frame_parser import FrameParser
from fastws.wire.frame_reader import read_frames
from fastws.wire.frames import frame
from fastws.wire.masking import apply_mask, apply_mask_in_python
from fastws.wire.opcodes import BINARY, CONTINUATION, TEXT

BATCH = 200
MAX = 1 << 20


def client_frame(opcode: int, payload: bytes, *, first_bits: int = 0x80) -> bytes:
    key = os.urandom(4)
    length = len(payload)
    first = first_bits | opcode
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 65536:
        header = bytes((first, 0xFE)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, 0xFF)) + length.to_bytes(8, "big")
    return header + key + apply_mask(payload, key)


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_read_a_batch_of_200_frames(benchmark: Any, size: int) -> None:
    data = b"".join(client_frame(TEXT, b"x" * size) for _ in range(BATCH))
    found, _ = benchmark(read_frames, data, 0, MAX, 1000)
    assert len(found) == BATCH


def test_read_a_batch_of_200_frames_by_wsproto_alone(benchmark: Any) -> None:
    data = b"".join(client_frame(TEXT, b"x" * 100) for _ in range(BATCH))

    def read() -> int:
        protocol = FrameProtocol(client=False, extensions=[])
        protocol.receive_bytes(data)
        return sum(1 for _ in protocol.received_frames())

    assert benchmark(read) == BATCH


def test_read_one_frame(benchmark: Any) -> None:
    data = client_frame(TEXT, b"x" * 100)
    assert benchmark(read_frames, data, 0, MAX, 1000)[1] == len(data)


def test_read_a_frame_cut_in_two(benchmark: Any) -> None:
    data = client_frame(TEXT, b"x" * 100)

    def read() -> list[tuple[int, bytes]]:
        parser = FrameParser(MAX, 10)
        parser.feed(data[:50], 10)
        return parser.feed(data[50:], 10)

    assert benchmark(read) == [(TEXT, b"x" * 100)]


def test_read_1000_fragments(benchmark: Any) -> None:
    data = client_frame(TEXT, b"x", first_bits=0) + client_frame(CONTINUATION, b"x", first_bits=0) * 998
    data += client_frame(CONTINUATION, b"x")
    assert benchmark(lambda: FrameParser(MAX, 1000).feed(data, 10_000)) == [(TEXT, b"x" * 1000)]


def test_read_a_compressed_frame(benchmark: Any) -> None:
    payload = b'{"event":"update","data":{"value":1}}' * 5
    data = client_frame(TEXT, deflate(payload, 6), first_bits=0xC0)
    assert benchmark(lambda: FrameParser(MAX, 10, Inflater(MAX)).feed(data, 10)) == [(TEXT, payload)]


def test_read_a_mebibyte_in_16_reads(benchmark: Any) -> None:
    data = client_frame(BINARY, os.urandom(MAX))
    pieces = [data[at : at + 65536] for at in range(0, len(data), 65536)]

    def read() -> int:
        parser = FrameParser(MAX, 10)
        return sum(len(parser.feed(piece, 10)) for piece in pieces)

    assert benchmark(read) == 1


@pytest.mark.parametrize("unmask", [apply_mask, apply_mask_in_python], ids=["in_c", "in_python"])
def test_unmask_100_bytes(benchmark: Any, unmask: Any) -> None:
    benchmark(unmask, b"x" * 100, b"1234")


@pytest.mark.parametrize("size", [100, 1000, 100_000])
def test_make_a_frame(benchmark: Any, size: int) -> None:
    benchmark(frame, TEXT, b"x" * size)


def test_make_a_compressed_payload(benchmark: Any) -> None:
    benchmark(deflate, b'{"event":"update","data":{"value":1}}' * 30, 6)
