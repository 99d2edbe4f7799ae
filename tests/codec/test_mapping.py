"""What is said in one codec and heard in the other: the one mapping that the docstrings promise."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.brokers.envelope import encode_body
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import InvalidPayload, Unencodable
from fastws.vocabulary.publication import Encoded

INTEGERS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from(
    [2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64 - 1, -(2**63)]
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
COMMON = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
TIMESTAMPS = st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 999_999_999))
EXTENSIONS = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
LACKING = st.binary(max_size=20) | TIMESTAMPS | EXTENSIONS | st.sampled_from([math.nan, math.inf, -math.inf])


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
    )


def as_json_has_it(value: Any) -> Any:
    """The documented mapping, written down once more."""
    if isinstance(value, dict):
        return {key: as_json_has_it(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json_has_it(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, msgpack.Timestamp):
        return timestamp_as_text(value)
    if isinstance(value, msgpack.ExtType):
        return {"ext": value.code, "data": base64.b64encode(value.data).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def timestamp_as_text(value: msgpack.Timestamp) -> str:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.seconds)
    except OverflowError:
        total = value.seconds * 10**9 + value.nanoseconds
        digits = f"{abs(total):010d}"
        return f"{'-' * (total < 0)}{digits[:-9]}.{digits[-9:]}"
    fraction = f".{value.nanoseconds:09d}" * bool(value.nanoseconds)
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types: 1 is not 1.0, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@given(nested(COMMON))
def test_what_json_can_say_goes_through_msgpack_and_back_unchanged(value: Any) -> None:
    text = json.dumps({"data": value}).encode()
    heard = msgpack.unpackb(MSGPACK.dumps(JSON.loads(text)))
    assert same(heard, {"data": value})
    back = json.loads(JSON.dumps(MSGPACK.loads(msgpack.packb({"data": value}))))
    assert same(back, {"data": value})


@given(nested(COMMON | LACKING))
def test_what_json_lacks_is_heard_by_the_one_mapping(value: Any) -> None:
    said = MSGPACK.loads(msgpack.packb({"data": value}))
    assert same(json.loads(JSON.dumps(said)), {"data": as_json_has_it(value)})


@given(nested(COMMON | LACKING))
def test_a_body_still_in_msgpack_is_heard_as_one_that_was_decoded(value: Any) -> None:
    body = msgpack.packb(value)
    whole = JSON.dumps({"event": "e", "data": MSGPACK.loads(body)})
    assert JSON.dumps({"event": "e", "data": Encoded("msgpack", body)}) == whole
    # And a msgpack client gets the publisher's own bytes.
    heard = MSGPACK.dumps({"event": "e", "data": Encoded("msgpack", body)})
    assert heard == b"\x82\xa5event\xa1e\xa4data" + body


@given(nested(COMMON))
def test_a_body_still_in_json_is_heard_in_msgpack_as_one_that_was_decoded(value: Any) -> None:
    body = json.dumps(value, indent=1).encode()
    assert MSGPACK.loads(MSGPACK.dumps({"data": Encoded("json", body)})) == {"data": value}
    assert JSON.dumps({"data": Encoded("json", body)}) == b'{"data":' + body + b"}"


@given(nested(COMMON | LACKING))
def test_what_a_msgpack_client_says_another_hears_with_every_type(value: Any) -> None:
    heard = msgpack.unpackb(MSGPACK.dumps({"data": MSGPACK.loads(msgpack.packb(value))}))["data"]
    assert repr(heard) == repr(value)


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64 - 1, -(2**63)])
def test_integers_up_to_64_bits_are_exact_in_both(number: int) -> None:
    assert MSGPACK.dumps(JSON.loads(b"%d" % number)) == msgpack.packb(number)
    assert JSON.dumps(MSGPACK.loads(msgpack.packb(number))) == b"%d" % number


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_integers_past_64_bits_are_refused_on_the_way_in_and_out(number: int) -> None:
    with pytest.raises(InvalidPayload, match="64 bits"):
        JSON.loads(b'{"n":%d}' % number)
    for codec in (JSON, MSGPACK):
        with pytest.raises(Unencodable):
            codec.dumps({"n": number})


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_is_no_number_in_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidPayload):
        JSON.loads(b'{"n":%b}' % text)


WRAPS = [lambda m: m, lambda m: {"data": m}, lambda m: {"data": [[m]]}]
OTHER_KEYS = [b"bytes", None, 1.5, True, msgpack.Timestamp(1, 2)]


@pytest.mark.parametrize("key", OTHER_KEYS)
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("beside", ["a", 1])
def test_keys_of_other_types_are_refused_wherever_they_stand(key: object, wrap: Any, beside: object) -> None:
    said = wrap({beside: 1, key: 2}) if key is not True else wrap({"a": 1, True: 2})
    with pytest.raises(InvalidPayload, match="not valid msgpack"):
        MSGPACK.loads(msgpack.packb(said))
    with pytest.raises(Unencodable):
        JSON.dumps(said)
    with pytest.raises(Unencodable):
        encode_body([said, b"not in JSON"])


@pytest.mark.parametrize("key", [0, -1, 127, 2**63, 2**64 - 1, -(2**63)])
@pytest.mark.parametrize("wrap", WRAPS)
def test_integer_keys_stay_in_msgpack_and_are_text_in_json(key: int, wrap: Any) -> None:
    said = wrap({"a": b"", key: [1]})
    packed = msgpack.packb(said)
    assert MSGPACK.loads(packed) == said
    assert MSGPACK.dumps(MSGPACK.loads(packed)) == packed
    text = JSON.dumps(wrap({"a": "", str(key): [1]}))
    assert JSON.dumps(MSGPACK.loads(packed)) == text
    # The same where the body was not decoded before, and after its way through Redis.
    assert JSON.dumps({"data": Encoded("msgpack", packed)}) == b'{"data":' + text + b"}"
    assert JSON.dumps({"data": encode_body(said)}) == b'{"data":' + text + b"}"


def test_a_float_of_32_bits_is_heard_as_the_same_number() -> None:
    packed = b"\x81\xa1n\xca\x3f\x80\x00\x00"
    assert JSON.dumps(MSGPACK.loads(packed)) == b'{"n":1.0}'


def test_of_equal_keys_the_last_one_holds_in_both() -> None:
    assert JSON.loads(b'{"a":1,"a":2}') == MSGPACK.loads(b"\x82\xa1a\x01\xa1a\x02") == {"a": 2}


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_text_that_no_utf8_can_say_is_unencodable(codec: Any) -> None:
    with pytest.raises(Unencodable):
        codec.dumps({"data": "\ud800"})


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (msgpack.Timestamp(1_762_689_600), "2025-11-09T12:00:00Z"),
        (msgpack.Timestamp(1_762_689_600, 1), "2025-11-09T12:00:00.000000001Z"),
        (msgpack.Timestamp(-1, 500_000_000), "1969-12-31T23:59:59.500000000Z"),
        (msgpack.Timestamp(-62_135_596_800), "0001-01-01T00:00:00Z"),
        (msgpack.Timestamp(-62_135_596_801, 5), "-62135596800.999999995"),
        (msgpack.Timestamp(253_402_300_800), "253402300800.000000000"),
        (msgpack.Timestamp(2**63 - 1, 999_999_999), "9223372036854775807.999999999"),
    ],
)
def test_timestamps_are_iso_text_or_seconds_where_no_calendar_reaches(stamp: msgpack.Timestamp, text: str) -> None:
    assert JSON.dumps(stamp) == b'"%b"' % text.encode()


def test_an_error_in_one_message_leaves_nothing_behind_for_the_next() -> None:
    body = Encoded("msgpack", b"\x05")
    for bad in ({"a": "x" * 100, "b": object()}, {"a": body, "b": object()}, {"a": Encoded("json", b"{"), "b": body}):
        with pytest.raises(Unencodable):
            MSGPACK.dumps(bad)
        assert MSGPACK.dumps({"n": 1}) == b"\x81\xa1n\x01"
        assert MSGPACK.dumps({"n": body}) == b"\x81\xa1n\x05"
