"""Frames as the load client sees them: its own, masked with zeros, and a server's, walked for stamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fastws.bench.stamp import MARK, STAMP_BYTES, read_stamp

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A final frame, masked (RFC 6455 section 5.3).

    The masking key is zero: unmasking costs the server what any key would, and the client nothing. It is no browser
    that a page could make write bytes of its choice to a proxy.
    """
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


class Template:
    """A message whose stamp is filled in: `head`, a stamp, `tail`, as one masked frame."""

    __slots__ = ("head", "tail")

    def __init__(self, opcode: int, payload: bytes) -> None:
        """`payload` holds one stamp."""
        frame = client_frame(opcode, payload)
        at = frame.index(MARK)
        self.head, self.tail = frame[:at], frame[at + STAMP_BYTES :]


class Reading(NamedTuple):
    """What some bytes of a server say. `data` is kept to recognise the same bytes at another receiver.

    `numbers` of the stamped messages, in the order in which they came; `in_sequence` if they grow by one. `dues`: when
    those were due whose latency is to be taken. `others`: opcode and payload of frames without a stamp. `tail`: the
    beginning of a frame that is not whole.
    """

    data: bytes
    numbers: Sequence[int]
    in_sequence: bool
    dues: Sequence[int]
    others: Sequence[tuple[int, bytes]]
    tail: bytes


def read_frames(data: bytes, every: int = 1) -> Reading:
    """Walk the frames of `data`, which begins with one. The latency of each `every`-th number is to be taken.

    Cost: 0.8 µs a frame; receivers of a channel hear the same bytes, so that most never come here.
    """
    stamps: list[tuple[int, int]] = []
    others: list[tuple[int, bytes]] = []
    position, total = 0, len(data)
    while total - position >= 2:
        size, start = data[position + 1], position + 2
        if size == 126:
            start = position + 4
            size = int.from_bytes(data[position + 2 : start], "big")
        elif size == 127:
            start = position + 10
            size = int.from_bytes(data[position + 2 : start], "big")
        end = start + size
        if end > total or start > total:
            break
        at = data.find(MARK, start, end)
        if at >= 0:
            stamps.append(read_stamp(data, at))
        else:
            others.append((data[position] & 15, data[start:end]))
        position = end
    numbers = [number for number, _ in stamps]
    in_sequence = not numbers or numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    dues = [due for number, due in stamps if number % every == 0]
    return Reading(data, numbers, in_sequence, dues, others, data[position:])
