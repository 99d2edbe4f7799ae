"""The stamp inside every message: when it was due and which one of its channel it is."""

from __future__ import annotations

from typing import Final

MARK: Final = b"~T"
STAMP_BYTES: Final = len(MARK) + 16 + 8
PLACEHOLDER: Final = MARK + b"0" * 24
# Text that needs no escaping in JSON and does not repeat with a short period.
_PADDING: Final = b"sensor:temperature=21.53;humidity=40.1;station=north-west-4;unit=celsius;quality=good;"


def stamp(due_ns: int, number: int) -> bytes:
    """`~T`, 16 hex digits of CLOCK_MONOTONIC nanoseconds, 8 hex digits of the place in the channel's sequence."""
    return b"~T%016x%08x" % (due_ns, number)


def read_stamp(data: bytes, at: int) -> tuple[int, int]:
    """(number, due in ns) of the stamp whose mark is at `at`."""
    return int(data[at + 18 : at + 26], 16), int(data[at + 2 : at + 18], 16)


def payload(size: int) -> str:
    """A text of `size` bytes that begins with a stamp to be filled in."""
    rest = size - STAMP_BYTES
    padding = _PADDING * (rest // len(_PADDING) + 1)
    return (PLACEHOLDER + padding[:rest]).decode()
