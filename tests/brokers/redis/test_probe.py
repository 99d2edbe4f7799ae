"""The probe: its return measures the lag, its absence shows that the connections are dead."""

from __future__ import annotations

import pytest

from fastws.brokers.redis.probe import RedisProbe
from fastws.brokers.redis.wire.timeouts import RedisTimeouts


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_probe(clock: Clock, lags: list[float]) -> RedisProbe:
    return RedisProbe(clock, lags.append, RedisTimeouts(probe_late_seconds=3.0, probe_lost_seconds=5.0))


def test_lag_is_the_time_there_and_back(clock: Clock) -> None:
    lags: list[float] = []
    probe = make_probe(clock, lags)
    assert not probe.is_fresh
    payload = probe.payload()
    clock.now += 0.25
    probe.received(payload)
    assert lags == [0.25]
    clock.now += 2.9
    assert probe.is_fresh
    clock.now += 0.2
    assert not probe.is_fresh


@pytest.mark.parametrize("payload", [b"", b"x", b"nan", b"inf", b"-inf", b"1e400", b"99999", b"\xff"])
def test_other_payloads_are_ignored(clock: Clock, payload: bytes) -> None:
    lags: list[float] = []
    probe = make_probe(clock, lags)
    probe.received(payload)
    assert lags == []
    assert not probe.is_fresh


def test_each_replacement_is_waited_for_longer_until_a_probe_returns(clock: Clock) -> None:
    probe = make_probe(clock, [])
    waits = []
    for _ in range(8):
        probe.connected()
        began = clock.now
        while not probe.is_lost():
            clock.now += 0.5
        waits.append(clock.now - began)
    assert waits == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 30.0, 30.0]
    probe.received(probe.payload())
    probe.connected()
    clock.now += 5.0
    assert probe.is_lost()
