"""Counters: integers that begin at 0, and histograms of durations."""

from __future__ import annotations

import pytest

from fastws.counters import Counters, Histogram


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.0005, 0), (0.00051, 1), (0.001, 1), (0.3, 9), (10.0, 13), (10.1, 14), (3600.0, 14)],
)
def test_a_duration_counts_in_the_first_bucket_whose_bound_it_does_not_exceed(seconds: float, bucket: int) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    assert [position for position, count in enumerate(histogram.counts) if count] == [bucket]


def test_a_histogram_keeps_the_number_and_the_sum_of_durations() -> None:
    histogram = Histogram()
    for seconds in (0.25, 0.5, 0.25, 60.0):
        histogram.observe(seconds)
    assert sum(histogram.counts) == 4
    assert histogram.total_seconds == 61.0
    assert len(histogram.counts) == len(Histogram.BOUNDS) + 1


def test_counters_begin_at_zero_and_labels_on_first_use() -> None:
    counters, others = Counters(), Counters()
    assert counters.deliveries == counters.delivered_bytes == counters.broker_reconnects == 0
    counters.closed[1001, "draining"] += 1
    counters.broker_lag.observe(0.1)
    assert counters.closed == {(1001, "draining"): 1}
    assert others.closed == {}
    assert sum(others.broker_lag.counts) == 0
