"""Rows D: messages that are small to send and large to read are refused before they are read, in either codec."""

from __future__ import annotations

import contextlib
import re
import time
import tracemalloc
from collections.abc import Callable

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.codec.codec import Codec
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.codec.msgpack_limits import MAX_CONTAINERS, MAX_EXTENSIONS, check_tokens
from fastws.errors import FastWSError, InvalidPayload

MIB = 1 << 20
# The costliest of these messages take about ten times the processor time of `reference_work`, busy machine or not.
TIMES_THE_REFERENCE = 30


def array(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


def repeated(item: bytes) -> bytes:
    """A mebibyte of `item` in arrays that are each within the limit for one."""
    count = (MIB - 100) // len(item)
    groups = [min(65_536, count - start) for start in range(0, count, 65_536)]
    return array(len(groups)) + b"".join(array(size) + item * size for size in groups)


MSGPACK_BOMBS = {
    "empty lists": repeated(b"\x90"),
    "empty maps": repeated(b"\x80"),
    "lists of one": repeated(b"\x91\xc0"),
    "maps of one": repeated(b"\x81\xa1a\xc0"),
    "long headers of empty lists": repeated(b"\xdc\x00\x00"),
    "longer headers of empty maps": repeated(b"\xdf\x00\x00\x00\x00"),
    "nesting": repeated(b"\x91" * 500 + b"\xc0"),
    "binaries": repeated(b"\xc4\x01a"),
    "extensions": repeated(b"\xd4\x01a"),
    "empty extensions": repeated(b"\xc7\x00\x01"),
    "timestamps": repeated(b"\xd6\xff\x00\x00\x00\x01"),
    "long timestamps": repeated(b"\xc7\x0c\xff" + bytes(12)),
    "empty long strings, and as many lists": repeated(b"\x92\xd9\x00\x90"),
}
JSON_BOMBS = {
    "empty lists": b"[" + b"[]," * (MIB // 3) + b"0]",
    "empty objects": b"[" + b"{}," * (MIB // 3) + b"0]",
    "lists of one": b"[" + b"[0]," * (MIB // 4) + b"0]",
    "objects of one": b"[" + b'{"":0},' * (MIB // 7) + b"0]",
    "nesting": b"[" + (b"[" * 250 + b"]" * 250 + b",") * (MIB // 501) + b"0]",
    "depth without end": b"[" * 100_000,
    "lists beside a long integer": b"[" + b"[]," * (MIB // 3) + b"18446744073709551616]",
}
# Many values, but cheap ones: they are read.
HEAVY = {
    "msgpack negative integers": (MSGPACK, repeated(b"\xe0")),
    "msgpack strings": (MSGPACK, repeated(b"\xa2ab")),
    "msgpack floats": (MSGPACK, repeated(b"\xca\x00\x00\x00\x01")),
    "msgpack integer keys": (MSGPACK, msgpack.packb({n << 46: None for n in range(100_000)})),
    "msgpack maps with integer keys": (MSGPACK, msgpack.packb([{n % 128: None} for n in range(65_000)])),
    "JSON integers": (JSON, b"[" + b"-9," * (MIB // 3) + b"0]"),
    "JSON floats": (JSON, b"[" + b"0.1," * (MIB // 4) + b"0]"),
    "JSON keys": (JSON, orjson.dumps({f"{n:x}": 0 for n in range(80_000)})),
    "JSON digits": (JSON, b"[0." + b"1" * MIB + b"]"),
    "JSON floats beside a long integer": (JSON, b"[" + b"0.1," * (MIB // 4) + b'"18446744073709551616"]'),
}


def reference_work() -> None:
    """As many steps as a message may have arrays: 12 ms of an idle processor."""
    for step in re.finditer(b"(a)", b"a" * MAX_CONTAINERS):
        step.end()


def processor_seconds(act: Callable[[], object]) -> float:
    begun = time.process_time()
    act()
    return time.process_time() - begun


def cost_of(act: Callable[[], object]) -> float:
    """The cost of `act` as a multiple of the reference: both taken in turns, the best of five of each."""
    pairs = [(processor_seconds(act), processor_seconds(reference_work)) for _ in range(5)]
    return min(cost for cost, _ in pairs) / min(reference for _, reference in pairs)


def peak_of(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refuse(codec: Codec, payload: bytes) -> None:
    with pytest.raises(InvalidPayload):
        codec.loads(payload)


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        *(pytest.param(MSGPACK, payload, id=f"msgpack {name}") for name, payload in MSGPACK_BOMBS.items()),
        *(pytest.param(JSON, payload, id=f"JSON {name}") for name, payload in JSON_BOMBS.items()),
    ],
)
def test_a_bomb_is_refused_before_it_costs_time_or_memory(codec: Codec, payload: bytes) -> None:
    assert cost_of(lambda: refuse(codec, payload)) < TIMES_THE_REFERENCE
    assert peak_of(lambda: refuse(codec, payload)) < 8 * MIB


@pytest.mark.parametrize(("codec", "payload"), HEAVY.values(), ids=HEAVY)
def test_many_cheap_values_are_read_in_bounded_time_and_memory(codec: Codec, payload: bytes) -> None:
    assert cost_of(lambda: codec.loads(payload)) < TIMES_THE_REFERENCE
    assert peak_of(lambda: codec.loads(payload)) < 64 * MIB


def test_what_looks_costly_within_strings_and_binaries_is_not() -> None:
    noise = bytes(range(256)) * 4000
    assert MSGPACK.loads(msgpack.packb({"data": noise})) == {"data": noise}
    text = "привет" * 80_000
    assert MSGPACK.loads(msgpack.packb({"data": text})) == {"data": text}
    words = ["привет, мир и все, кто в нём живёт"] * 15_000
    assert MSGPACK.loads(msgpack.packb({"data": words})) == {"data": words}
    numbers = [[0x90 + n % 16 for n in range(1000)] for _ in range(400)]
    assert MSGPACK.loads(msgpack.packb({"data": numbers})) == {"data": numbers}


def test_as_many_arrays_as_allowed_are_read_in_either_codec() -> None:
    pairs = [[n, n] for n in range(MAX_CONTAINERS - 2)]
    assert MSGPACK.loads(msgpack.packb({"data": pairs})) == {"data": pairs}
    refuse(MSGPACK, msgpack.packb({"data": [*pairs, [0, 0]]}))
    points = [[1.5, n] for n in range(90_000)]
    assert JSON.loads(orjson.dumps({"data": points})) == {"data": points}


def test_as_many_binaries_as_allowed_are_read() -> None:
    assert len(MSGPACK.loads(msgpack.packb([b"a"] * MAX_EXTENSIONS))) == MAX_EXTENSIONS  # type: ignore[arg-type]
    refuse(MSGPACK, msgpack.packb([b"a"] * (MAX_EXTENSIONS + 1)))


def test_the_limits_grow_with_the_message() -> None:
    pairs = [["x" * 60, n] for n in range(MAX_CONTAINERS + 1000)]
    assert MSGPACK.loads(msgpack.packb(pairs)) == pairs


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=40))
    | st.builds(msgpack.Timestamp, st.integers(0, 2**34), st.integers(0, 999_999_999)),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=40), inner, max_size=40),
    max_leaves=60,
)


def count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(count(item) for item in value.values())
    return 1 + sum(count(item) for item in value) if isinstance(value, list) else 0


@given(VALUES)
def test_the_count_of_tokens_is_that_of_the_value(value: object) -> None:
    """As many copies as reach the limit exactly pass; one array more does not."""
    from fastws.codec.msgpack_limits import _TokenCount

    packed = msgpack.packb(value)
    counted = _TokenCount(packed, 1)
    counted.run()
    assert MAX_CONTAINERS - counted._containers_left == count(value)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_break_the_count_or_the_codecs(data: bytes, at: int) -> None:
    for payload in (data, data[:at] + b"\xdd\xff\xff\xff\xff" + data[at:], data * 400):
        for act in (
            lambda p=payload: check_tokens(p),
            lambda p=payload: MSGPACK.loads(p),
            lambda p=payload: JSON.loads(p),
        ):
            with contextlib.suppress(FastWSError):
                act()
