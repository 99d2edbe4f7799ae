import httpx
import pytest

from fastws.backend.retry import FIRST_SECONDS, LONGEST_SECONDS, RetrySchedule, Tries
from fastws.errors import RateLimited, Unavailable


def delays(error, failures=1, limit_seconds=1e9):
    """The delay after attempt number `failures`, drawn 200 times."""

    def last_delay():
        tries = Tries(RetrySchedule(limit_seconds), "http://here")
        return [tries.delay_after(error) for _ in range(failures)][-1]

    return [last_delay() for _ in range(200)]


@pytest.mark.parametrize(
    ("failures", "bound"),
    [(1, FIRST_SECONDS), (2, 2 * FIRST_SECONDS), (4, 8 * FIRST_SECONDS), (20, LONGEST_SECONDS)],
)
def test_delays_are_spread_under_a_bound_that_doubles_up_to_the_longest(failures, bound):
    drawn = delays(httpx.ConnectError("refused"), failures)
    assert 0 <= min(drawn) < bound / 2 < max(drawn) <= bound


def test_jitter_is_added_to_the_retry_after_of_the_server():
    drawn = delays(RateLimited("slow down", retry_after_seconds=3))
    assert 3.0 <= min(drawn) < max(drawn) <= 3.0 + FIRST_SECONDS


@pytest.mark.parametrize(
    ("limit_seconds", "elapsed_seconds", "retry_after"), [(0.0, 0.0, 0), (10.0, 10.0, 0), (10.0, 0.0, 10)]
)
def test_no_attempt_starts_after_the_limit(limit_seconds, elapsed_seconds, retry_after):
    now = [0.0]
    tries = Tries(RetrySchedule(limit_seconds), "http://here", clock=lambda: now[0])
    now[0] = elapsed_seconds
    with pytest.raises(RateLimited):
        tries.delay_after(RateLimited("slow down", retry_after_seconds=retry_after))


def test_the_last_failure_is_raised_when_the_time_is_up():
    now = [0.0]
    tries = Tries(RetrySchedule(10), "http://here/broadcast", clock=lambda: now[0])
    assert tries.delay_after(Unavailable("busy", retry_after_seconds=0)) <= FIRST_SECONDS
    assert tries.delay_after(RateLimited("slow down", retry_after_seconds=3)) >= 3
    now[0] = 11.0
    with pytest.raises(Unavailable, match=r"no answer from http://here/broadcast.*refused.*fastws serve"):
        tries.delay_after(httpx.ConnectError("refused"))
