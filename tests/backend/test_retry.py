import httpx
import pytest

from fastws.backend.retry import FIRST_SECONDS, LONGEST_SECONDS, RetrySchedule, Tries
from fastws.errors import RateLimited, Unavailable


def test_delays_are_spread_under_a_ceiling_that_doubles_up_to_the_longest():
    schedule = RetrySchedule(1e9)
    for tries, ceiling in [
        (1, FIRST_SECONDS),
        (2, 2 * FIRST_SECONDS),
        (4, 8 * FIRST_SECONDS),
        (99, LONGEST_SECONDS),
    ]:
        delays = [schedule.delay_seconds(tries, 0) for _ in range(200)]
        assert 0 <= min(delays) < ceiling / 2 < max(delays) <= ceiling


def test_what_the_server_asks_for_is_the_least_delay_and_jitter_comes_on_top():
    delays = {RetrySchedule(100).delay_seconds(1, 0, 3.0) for _ in range(50)}
    assert len(delays) > 1
    assert min(delays) >= 3.0


def test_there_is_no_further_try_past_the_limit():
    assert RetrySchedule(0).delay_seconds(1, 0) is None
    assert RetrySchedule(10).delay_seconds(1, 10.0) is None
    assert RetrySchedule(10).delay_seconds(1, 0, 10.0) is None


def test_the_last_failure_is_raised_when_the_time_is_up():
    now = [0.0]
    tries = Tries(RetrySchedule(10), "http://here/broadcast", clock=lambda: now[0])
    assert tries.delay_after(Unavailable("busy", retry_after_seconds=0)) <= FIRST_SECONDS
    assert tries.delay_after(RateLimited("slow down", retry_after_seconds=3)) >= 3
    now[0] = 11.0
    with pytest.raises(Unavailable, match=r"no answer from http://here/broadcast.*refused.*fastws serve"):
        tries.delay_after(httpx.ConnectError("refused"))
