"""JSON in text frames: what is taken, what is refused and why, what JSON lacks."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import InvalidPayload, InvalidText, Unencodable
from fastws.vocabulary.publication import Encoded

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_is_dumped_loads_as_it_was(value: object) -> None:
    assert JSON.loads(JSON.dumps(value)) == value


@given(value=values)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_it_reads_what_others_write_and_others_read_what_it_writes(value: object) -> None:
    assert JSON.loads(json.dumps(value).encode()) == value
    assert json.loads(JSON.dumps(value)) == value


integers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.builds(lambda edge, by: edge + by, st.sampled_from([-(2**63), 2**63, 2**64]), st.integers(-3, 3)),
)
places = st.sampled_from(["%d", " %d ", "[%d]", "[1, %d ,2]", '{"a":%d}', '{"a": [{"b": %d}]}', '["%%", %d]'])


@given(number=integers, place=places)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_an_integer_is_taken_exactly_or_refused(number: int, place: str) -> None:
    text = (place % number).encode()
    if -(2**63) <= number < 2**64:
        assert JSON.loads(text) == json.loads(text)
        assert str(number) in str(JSON.loads(text))
    else:
        with pytest.raises(InvalidPayload, match="64 bits"):
            JSON.loads(text)


@pytest.mark.parametrize(
    "text",
    ["1e300", "-1.5e-7", "123456789012345678901234567890.5", "12345678901234567890e3", '"12345678901234567890123"'],
)
def test_long_floats_and_texts_of_digits_are_no_integers(text: str) -> None:
    assert JSON.loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "payload", [b"", b" ", b"{", b"nul", b"NaN", b"Infinity", b"{'a':1}", b'"\\ud800"', b"1 2", b"[" * 1100]
)
def test_what_is_not_json_is_refused_and_the_connection_stays(payload: bytes) -> None:
    with pytest.raises(InvalidPayload, match="not valid JSON"):
        JSON.loads(payload)


BOM = b"\xef\xbb\xbf"


def test_a_byte_order_mark_at_the_beginning_is_skipped_once() -> None:
    assert JSON.loads(BOM + b'{"a":[1,"\xef\xbb\xbf"]}') == {"a": [1, "\ufeff"]}
    with pytest.raises(InvalidPayload, match="64 bits"):
        JSON.loads(BOM + b"[18446744073709551616]")
    for payload in (BOM, BOM + b"{", BOM * 2 + b"{}", BOM * 100_000 + b"{}", b" " + BOM + b"{}"):
        with pytest.raises(InvalidPayload, match="not valid JSON"):
            JSON.loads(payload)
    with pytest.raises(InvalidText):
        JSON.loads(BOM + b"\xff")


@pytest.mark.parametrize("payload", [b'"\\ud83d"', b'"\\ude00"', b'{"a":"\\ud83d\\ud83d"}'])
def test_half_an_emoji_is_called_so(payload: bytes) -> None:
    with pytest.raises(InvalidPayload, match=r"half an emoji \(unpaired surrogate\)"):
        JSON.loads(payload)
    for codec in (JSON, MSGPACK):
        with pytest.raises(Unencodable, match=r"half an emoji \(unpaired surrogate\)"):
            codec.dumps({"data": "\ud83d"})


@pytest.mark.parametrize("payload", [b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b'{"a":"\xf4\x90\x80\x80"}'])
def test_what_is_not_utf8_ends_the_connection(payload: bytes) -> None:
    with pytest.raises(InvalidText) as caught:
        JSON.loads(payload)
    assert caught.value.close_code == 1007


MAPPED: list[tuple[object, object]] = [
    (b"\x00\xff", "AP8="),
    (bytearray(b"a"), "YQ=="),
    (msgpack.Timestamp(0), "1970-01-01T00:00:00Z"),
    (msgpack.Timestamp(1, 5), "1970-01-01T00:00:01.000000005Z"),
    (msgpack.Timestamp(-1), "1969-12-31T23:59:59Z"),
    (msgpack.Timestamp(2**62), f"{2**62}.000000000"),
    (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "2026-01-01T00:00:00Z"),
    (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
    (msgpack.ExtType(5, b"x"), {"ext": 5, "data": "eA=="}),
    (math.nan, None),
    (math.inf, None),
]


@pytest.mark.parametrize(("value", "mapped"), MAPPED)
def test_what_json_lacks_is_mapped(value: object, mapped: object) -> None:
    assert JSON.loads(JSON.dumps({"a": [value]})) == {"a": [mapped]}


@pytest.mark.parametrize("value", [object(), "\ud800", {1.5: 2}, 2**64, {"a": {1, 2}}])
def test_what_has_no_mapping_is_unencodable(value: object) -> None:
    with pytest.raises(Unencodable, match="cannot be encoded"):
        JSON.dumps({"data": value})


def test_what_nests_too_deep_is_unencodable() -> None:
    value: object = 0
    for _ in range(400):
        value = [value]
    with pytest.raises(Unencodable):
        JSON.dumps(value)


def test_a_body_that_is_json_already_is_passed_on_as_it_is() -> None:
    assert JSON.dumps({"data": Encoded("json", b'{"a" : 1.50}')}) == b'{"data":{"a" : 1.50}}'
    assert JSON.dumps({"data": Encoded("msgpack", msgpack.packb({"a": b"\x00"}))}) == b'{"data":{"a":"AA=="}}'


def test_a_body_that_cannot_be_read_is_unencodable() -> None:
    with pytest.raises(Unencodable):
        JSON.dumps({"data": Encoded("msgpack", b"\xc1")})


@pytest.mark.parametrize("digits", [30, 309, 400, 5000])
def test_an_integer_of_any_length_is_refused(digits: int) -> None:
    with pytest.raises(InvalidPayload):
        JSON.loads(b'{"a":[1,' + b"1" * digits + b"]}")
