"""The canary: what comes back tells the lag, what does not that the line is dead."""

from __future__ import annotations

import pytest

from fastws.brokers.redis.probe import RedisCanary
from fastws.brokers.redis.wire.timeouts import Patience


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def canary(clock: Clock, lags: list[float]) -> RedisCanary:
    return RedisCanary(clock, lags.append, Patience(canary_late_seconds=3.0, canary_lost_seconds=5.0))


def test_lag_is_the_time_there_and_back(clock: Clock) -> None:
    lags: list[float] = []
    bird = canary(clock, lags)
    assert not bird.is_fresh
    song = bird.song()
    clock.now += 0.25
    bird.hear(song)
    assert lags == [0.25]
    clock.now += 2.9
    assert bird.is_fresh
    clock.now += 0.2
    assert not bird.is_fresh


@pytest.mark.parametrize("song", [b"", b"x", b"nan", b"inf", b"-inf", b"1e400", b"99999", b"\xff"])
def test_strange_birds_are_not_counted(clock: Clock, song: bytes) -> None:
    lags: list[float] = []
    bird = canary(clock, lags)
    bird.hear(song)
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
    bird.hear(bird.song())
    bird.connected()
    clock.now += 5.0
    assert bird.is_lost()
