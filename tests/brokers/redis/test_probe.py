"""The canary: what comes back tells the lag, what does not that the line is dead."""

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


def canary(clock: Clock, lags: list[float]) -> RedisProbe:
    return RedisProbe(clock, lags.append, RedisTimeouts(probe_late_seconds=3.0, probe_lost_seconds=5.0))


def test_lag_is_the_time_there_and_back(clock: Clock) -> None:
    lags: list[float] = []
    bird = canary(clock, lags)
    assert not bird.is_fresh
    payload = bird.payload()
    clock.now += 0.25
    bird.received(payload)
    assert lags == [0.25]
    clock.now += 2.9
    assert bird.is_fresh
    clock.now += 0.2
    assert not bird.is_fresh


@pytest.mark.parametrize("payload", [b"", b"x", b"nan", b"inf", b"-inf", b"1e400", b"99999", b"\xff"])
def test_strange_birds_are_not_counted(clock: Clock, payload: bytes) -> None:
    lags: list[float] = []
    bird = canary(clock, lags)
    bird.received(payload)
    assert lags == []
    assert not bird.is_fresh


def test_each_replacement_is_waited_for_longer_until_one_sings(clock: Clock) -> None:
    bird = canary(clock, [])
    waits = []
    for _ in range(8):
        bird.connected()
        began = clock.now
        while not bird.is_lost():
            clock.now += 0.5
        waits.append(clock.now - began)
    assert waits == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 30.0, 30.0]
    bird.received(bird.payload())
    bird.connected()
    clock.now += 5.0
    assert bird.is_lost()
