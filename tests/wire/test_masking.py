"""Masking is its own inverse, and the same in C and in Python."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.wire import masking


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_both_ways_of_masking_give_the_same_bytes(data: bytes, mask: bytes) -> None:
    expected = bytes(byte ^ mask[position % 4] for position, byte in enumerate(data))
    assert masking.apply_mask_in_python(data, mask) == expected
    assert masking.apply_mask(data, mask) == expected


def test_without_the_c_extension_python_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    assert masking._choose() is masking.apply_mask_in_python
