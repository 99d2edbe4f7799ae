"""msgpack limits: the last token that is allowed, and bytes that only look expensive."""

from __future__ import annotations

import msgpack
import pytest

from fastws.codec.codec import mebibytes
from fastws.codec.msgpack_limits import MAX_CONTAINERS, MAX_EXTENSIONS, MAX_LONG_STRINGS, check_tokens
from fastws.errors import InvalidPayload

MIB = 1 << 20
GROUP = 1024


def nested(token: bytes, count: int) -> bytes:
    """`count` tokens in an array of arrays of GROUP tokens each; `count` is a multiple of GROUP."""
    groups = count // GROUP
    return b"\xdd" + groups.to_bytes(4, "big") + groups * (b"\xdc" + GROUP.to_bytes(2, "big") + token * GROUP)


# Strings of one byte that look like an array and a binary. With them the quick estimate exceeds the limit, so that the
# tokens are counted exactly.
DECOYS = b"\xa1\x90\xa1\xc4"


@pytest.mark.parametrize(
    "kind", [b"\x90", b"\x80", b"\xdc\x00\x00", b"\xdf\x00\x00\x00\x00"], ids=["array", "map", "array 16", "map 32"]
)
def test_arrays_and_maps_are_limited(kind: bytes) -> None:
    allowed = nested(kind, MAX_CONTAINERS - GROUP)
    # The arrays that hold the tokens count as well: one per group, and the outer one.
    room = GROUP - MAX_CONTAINERS // GROUP
    check_tokens(DECOYS + allowed + kind * room)
    with pytest.raises(InvalidPayload, match=f"at most {MAX_CONTAINERS} arrays and maps"):
        check_tokens(DECOYS + allowed + kind * (room + 1))


@pytest.mark.parametrize(
    "token",
    [b"\xc4\x01a", b"\xd4\x01a", b"\xd6\xff\0\0\0\0", b"\xc7\x01\x05a"],
    ids=["binary", "extension", "timestamp", "sized extension"],
)
def test_binaries_extensions_and_timestamps_are_limited(token: bytes) -> None:
    check_tokens(DECOYS + token * MAX_EXTENSIONS)
    with pytest.raises(InvalidPayload, match=f"at most {MAX_EXTENSIONS} binaries"):
        check_tokens(DECOYS + token * (MAX_EXTENSIONS + 1))


def test_long_strings_are_limited_where_tokens_are_counted() -> None:
    # Empty strings in the longest form; the bytes of the last one look like arrays, so that tokens are counted.
    looks_expensive = msgpack.packb("\x90".encode("latin-1") * (2 * MAX_CONTAINERS + 1))
    check_tokens(b"\xd9\x00" * MAX_LONG_STRINGS + looks_expensive)
    with pytest.raises(InvalidPayload, match=f"at most {MAX_LONG_STRINGS} long strings"):
        check_tokens(b"\xd9\x00" * (MAX_LONG_STRINGS + 1) + looks_expensive)


@pytest.mark.parametrize("byte", [b"\x90", b"\xc4", b"\xd9"])
def test_bytes_inside_a_binary_are_not_tokens(byte: bytes) -> None:
    check_tokens(msgpack.packb(byte * (MIB - 10)))


@pytest.mark.parametrize(("size", "factor"), [(0, 1), (MIB - 1, 1), (MIB, 2), (2 * MIB + 1, 3)])
def test_limits_grow_with_the_size_of_the_message(size: int, factor: int) -> None:
    assert mebibytes(bytes(size)) == factor
