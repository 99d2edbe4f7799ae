"""Token buckets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.rate_limit import ROUNDING_TOKENS, Bucket, address_key


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = Bucket(10, 5)
    assert [bucket.take(1, 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert bucket.take(1, 100.1)
    assert not bucket.take(1, 100.1)
    assert bucket.take(5, 1000.0)
    assert not bucket.take(1, 1000.0)


def test_a_refusal_takes_nothing() -> None:
    bucket = Bucket(1, 3)
    assert bucket.take(1, 10.0)
    assert not bucket.take(3, 10.0)
    assert bucket.take(2, 10.0)


def test_more_than_the_burst_is_taken_from_a_full_bucket_only_and_is_paid_back() -> None:
    bucket = Bucket(2, 4)
    assert bucket.take(1, 50.0)
    assert not bucket.take(10, 50.0)
    assert bucket.wait_seconds(10, 50.0) == pytest.approx(0.5)
    assert bucket.take(10, 50.5)
    # 10 of 4 tokens: 6 too many are back after 3 s, and one more half a second later.
    assert bucket.wait_seconds(1, 50.5) == pytest.approx(3.5)
    assert not bucket.take(1, 53.9)
    assert bucket.take(1, 54.0)


def test_a_rate_of_0_means_no_limit() -> None:
    assert Bucket.of_rate(0) is None


@pytest.mark.parametrize(("per_second", "burst"), [(0.1, 1), *((float(rate), rate) for rate in range(1, 100))])
def test_a_bucket_of_a_rate_allows_one_second_at_once_and_at_least_one(per_second: float, burst: int) -> None:
    bucket = Bucket.of_rate(per_second)
    assert bucket is not None
    assert [bucket.take(1, 1_000_000.1) for _ in range(burst + 1)] == [True] * burst + [False]


def test_the_wait_is_known() -> None:
    bucket = Bucket(2, 4)
    assert bucket.wait_seconds(4, 50.0) == 0.0
    assert bucket.take(4, 50.0)
    assert bucket.wait_seconds(1, 50.0) == pytest.approx(0.5)
    assert bucket.wait_seconds(100, 50.0) == pytest.approx(2.0)
    assert bucket.take(1, 50.5)


moments = st.lists(st.floats(0, 3), min_size=1, max_size=60)


@given(moments, st.integers(1, 20), st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate_and_always_that_much(
    waits: list[float], per_second: int, burst: int
) -> None:
    bucket = Bucket(per_second, burst)
    level, now = float(burst), 1000.0
    for wait in waits:
        now += wait
        level = min(burst, level + wait * per_second)
        taken = bucket.take(1, now)
        if not math.isclose(level, 1, abs_tol=2 * ROUNDING_TOKENS):
            assert taken is (level >= 1)
        level -= taken


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("unix", "unix"),
        ("300.1.1.1", "300.1.1.1"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, key: str) -> None:
    assert address_key(address) == key
