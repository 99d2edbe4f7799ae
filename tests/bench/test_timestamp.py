"""The stamp inside every message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastws.bench.timestamp import MARK, TIMESTAMP_BYTES, payload, read_timestamp, timestamp


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_what_was_stamped_is_read_back(due: int, number: int, before: bytes) -> None:
    data = before + timestamp(due, number) + b"tail"
    assert read_timestamp(data, len(before)) == (number, due)


@given(st.integers(TIMESTAMP_BYTES, 5000))
def test_payload_has_the_asked_size_and_begins_with_a_stamp(size: int) -> None:
    text = payload(size)
    assert len(text.encode()) == size
    assert text.encode().startswith(MARK)
    assert '"' not in text
    assert "\\" not in text
