"""msgpack in binary frames: what is taken, what is refused and why, within bounds of time and memory."""

from __future__ import annotations

import contextlib
import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.codec.msgpack_binary import MAX_ELEMENTS, MSGPACK
from fastws.errors import InvalidPayload, Unencodable
from fastws.vocabulary.publication import Encoded

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts | st.binary()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


@given(value=values)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_is_dumped_loads_as_it_was(value: object) -> None:
    assert MSGPACK.loads(MSGPACK.dumps(value)) == value


@given(payload=st.binary(max_size=200))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_bytes_are_a_value_or_an_invalid_payload(payload: bytes) -> None:
    with contextlib.suppress(InvalidPayload):
        MSGPACK.loads(payload)


HOSTILE = {
    "nothing": b"",
    "never used": b"\xc1",
    "cut": b"\x92\x01",
    "trailing": b"\xc0\xc0",
    "keys that are nil": b"\x81\xc0\x02",
    "keys that are bytes beside integers": b"\x82\x01\x02\xc4\x01a\x01",
    "keys that cannot be hashed": b"\x81\x90\x01",
    "text that is not UTF-8": b"\xa1\xff",
    "array of 2^32-1": b"\xdd\xff\xff\xff\xff",
    "map of 2^32-1": b"\xdf\xff\xff\xff\xff",
    "text of 2^32-1": b"\xdb\xff\xff\xff\xff",
    "bytes of 2^32-1": b"\xc6\xff\xff\xff\xff",
    "extension of 2^32-1": b"\xc9\xff\xff\xff\xff\x01",
    "nested without end": b"\x91" * 100_000,
    "timestamp out of range": b"\xc7\x0c\xff" + b"\xff" * 12,
    "a million empty lists": b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000,
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused_at_once_and_take_no_memory(payload: bytes) -> None:
    tracemalloc.start()
    begun = time.thread_time()
    try:
        with pytest.raises(InvalidPayload):
            MSGPACK.loads(payload)
        seconds = time.thread_time() - begun
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 0.25
    assert peak < 16_000_000


def test_as_many_elements_as_allowed_are_taken() -> None:
    assert MSGPACK.loads(msgpack.packb([0] * MAX_ELEMENTS)) == [0] * MAX_ELEMENTS
    with pytest.raises(InvalidPayload):
        MSGPACK.loads(msgpack.packb([0] * (MAX_ELEMENTS + 1)))


def test_timestamps_and_extensions_come_through() -> None:
    data = [msgpack.Timestamp(1, 5), msgpack.ExtType(5, b"x")]
    assert MSGPACK.loads(MSGPACK.dumps(data)) == data


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800", {1, 2}])
def test_what_has_no_mapping_is_unencodable(value: object) -> None:
    with pytest.raises(Unencodable, match="cannot be encoded as msgpack"):
        MSGPACK.dumps({"data": value})


def test_what_nests_too_deep_is_unencodable() -> None:
    value: object = 0
    for _ in range(1100):
        value = [value]
    with pytest.raises(Unencodable):
        MSGPACK.dumps({"data": value})


@given(value=values)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_body_that_is_msgpack_already_is_passed_on_as_it_is(value: object) -> None:
    body = msgpack.packb(value)
    assert MSGPACK.dumps({"a": 1, "data": Encoded("msgpack", body)}) == msgpack.packb({"a": 1, "data": value})


def test_a_body_that_is_json_is_said_in_msgpack() -> None:
    assert MSGPACK.loads(MSGPACK.dumps({"data": Encoded("json", b'{"a":[1,null]}')})) == {"data": {"a": [1, None]}}
    assert MSGPACK.loads(MSGPACK.dumps({"data": [Encoded("json", b"1")]})) == {"data": [1]}


def test_a_body_that_cannot_be_read_is_unencodable() -> None:
    with pytest.raises(Unencodable):
        MSGPACK.dumps({"data": Encoded("json", b"{")})
