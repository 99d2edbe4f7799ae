"""Quantiles to 1.6 %, whatever is added and however it is split over processes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.bench.histogram import Histogram

_TIMES = st.lists(st.integers(0, 10**11), min_size=1, max_size=200)


def _filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(_TIMES, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_quantile_is_that_of_the_sorted_values(values: list[int], share: float) -> None:
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    assert _filled(values).quantile(share) == pytest.approx(exact, rel=0.016, abs=1)


@given(_TIMES, _TIMES)
def test_merged_histograms_are_the_histogram_of_all(left: list[int], right: list[int]) -> None:
    whole = _filled(left + right)
    merged = _filled(left)
    merged.merge(Histogram.from_dict(json.loads(json.dumps(_filled(right).to_dict()))))
    assert merged.buckets == whole.buckets
    assert (merged.count, merged.smallest, merged.largest) == (whole.count, whole.smallest, whole.largest)


def test_empty_histogram_says_zero() -> None:
    assert Histogram().quantile(0.99) == 0.0
