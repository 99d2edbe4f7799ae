"""Delays between tries."""

from __future__ import annotations

import random

import pytest

from fastws.backoff import Backoff


def test_without_jitter_a_delay_doubles_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0, has_jitter=False)
    assert [backoff.next_seconds() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_with_jitter_a_delay_is_anything_up_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append((low, high)) or high / 2)
    backoff = Backoff(1.0, 4.0)
    assert [backoff.next_seconds(10.0) for _ in range(4)] == [10.5, 11.0, 12.0, 12.0]
    assert bounds == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 4.0)]


def test_after_a_good_connection_the_delays_begin_again() -> None:
    backoff = Backoff(1.0, 100.0, has_jitter=False)
    for _ in range(5):
        backoff.next_seconds()
    backoff.reset(3)
    assert backoff.next_seconds() == 8.0
    backoff.reset()
    assert backoff.next_seconds() == 1.0
    backoff.reset(3)
    assert backoff.failures == 1


def test_very_many_failures_cost_nothing_and_raise_nothing() -> None:
    backoff = Backoff(0.1, 4.0, has_jitter=False)
    backoff.failures = 10**6
    assert backoff.next_seconds() == 4.0
