"""Token buckets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.rate_limit import Bucket, KeyedBuckets, address_key


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = Bucket(10, 5)
    assert [bucket.take(1, 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert bucket.take(1, 100.1)
    assert not bucket.take(1, 100.1)
    assert not bucket.take(6, 1000.0)
    assert bucket.take(5, 1000.0)


def test_a_refusal_takes_nothing() -> None:
    bucket = Bucket(1, 3)
    assert not bucket.take(4, 10.0)
    assert bucket.take(3, 10.0)


def test_a_rate_of_nought_is_no_limit() -> None:
    assert all(Bucket(0, 1).take(10**9, float(n)) for n in range(3))
    assert all(KeyedBuckets(0, 1).take("k", 10**9, 0.0) for _ in range(3))
    assert Bucket(0, 1).wait_seconds(5, 0.0) == 0.0


def test_it_says_how_long_to_wait() -> None:
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
    keyed = KeyedBuckets(per_second, burst)
    level, now = float(burst), 1000.0
    for wait in waits:
        now += wait
        level = min(burst, level + wait * per_second)
        taken = bucket.take(1, now)
        assert keyed.take("k", 1, now) is taken
        if not math.isclose(level, 1, abs_tol=1e-6):
            assert taken is (level >= 1)
        level -= taken


def test_keys_do_not_share_a_bucket() -> None:
    limiter = KeyedBuckets(1, 1)
    assert limiter.take("a", 1, 0.0)
    assert limiter.take("b", 1, 0.0)
    assert not limiter.take("a", 1, 0.5)
    assert limiter.take("a", 1, 1.0)


def test_keys_that_are_idle_are_forgotten() -> None:
    limiter = KeyedBuckets(10, 10)
    for n in range(50_000):
        # Each is full again after 0.1 s, so some hundred are in use at a time.
        assert limiter.take(f"k{n}", 1, n / 1000)
    assert len(limiter) < 2048


def test_a_flood_of_keys_is_bounded_and_those_that_stay_are_still_limited() -> None:
    limiter = KeyedBuckets(0.001, 1, max_keys=100)
    for n in range(1000):
        assert limiter.take(f"k{n}", 1, 0.0)
    assert len(limiter) <= 100
    assert not limiter.take("k999", 1, 0.0)


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
