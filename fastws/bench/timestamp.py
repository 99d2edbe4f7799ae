"""The timestamp inside every message: when the message was due, and its sequence number in the channel."""

from __future__ import annotations

from typing import Final

MARK: Final = b"~T"
TIMESTAMP_BYTES: Final = len(MARK) + 16 + 8
PLACEHOLDER: Final = MARK + b"0" * 24
# Text that needs no escaping in JSON and compresses about as well as real data.
_PADDING: Final = b"sensor:temperature=21.53;humidity=40.1;station=north-west-4;unit=celsius;quality=good;"


def timestamp(due_ns: int, number: int) -> bytes:
    """`~T`, 16 hex digits of CLOCK_MONOTONIC nanoseconds, 8 hex digits of the sequence number in the channel."""
    return b"~T%016x%08x" % (due_ns, number)


def read_timestamp(data: bytes, at: int) -> tuple[int, int]:
    """Returns (number, due in ns) of the timestamp whose mark is at `at`."""
    return int(data[at + 18 : at + 26], 16), int(data[at + 2 : at + 18], 16)


def payload(size: int) -> str:
    """A text of `size` bytes that begins with the placeholder of a timestamp."""
    rest = size - TIMESTAMP_BYTES
    padding = _PADDING * (rest // len(_PADDING) + 1)
    return (PLACEHOLDER + padding[:rest]).decode()
