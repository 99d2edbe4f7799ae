import pytest

from fastws.client.backoff import STABLE_SECONDS, ReconnectBackoff, end_of, refusal_of
from fastws.errors import Forbidden, Unauthorized


def spread(measure):
    delays = [measure() for _ in range(300)]
    return min(delays), max(delays)


def after_failures(failures):
    backoff = ReconnectBackoff(0.5, 30.0)
    backoff.failures = failures
    return backoff


@pytest.mark.parametrize(("failures", "bound"), [(0, 0.5), (1, 1.0), (3, 4.0), (60, 30.0)])
def test_delays_are_spread_under_a_bound_that_doubles(failures, bound):
    least, most = spread(lambda: after_failures(failures).after_close(1006, "", 0))
    assert 0 <= least < 0.2 * bound
    assert 0.8 * bound < most <= bound


def test_jitter_is_added_to_the_retry_after_of_the_server():
    least, most = spread(lambda: after_failures(0).next_seconds(5))
    assert 5 <= least < most <= 5.5


@pytest.mark.parametrize(
    ("reason", "least", "most"),
    [("restart; reconnect in 0-5 s", 0, 5), ("restart; reconnect in 2-3 s", 2, 3), ("reconnect in 4 s", 4, 4)],
)
def test_the_hint_of_a_restart_is_the_time_to_spread_over(reason, least, most):
    low, high = spread(lambda: after_failures(0).after_close(1012, reason, 0))
    assert least <= low <= least + 0.5
    assert most - 0.5 <= high <= most


@pytest.mark.parametrize(("code", "reason"), [(1012, "restart"), (1011, "reconnect in 900 s"), (None, "")])
def test_without_a_hint_the_backoff_counts(code, reason):
    assert spread(lambda: after_failures(0).after_close(code, reason, 0))[1] <= 0.5


@pytest.mark.parametrize("code", [1008, 1013])
def test_a_client_that_was_too_slow_or_too_fast_waits_at_least_a_second(code):
    least, most = spread(lambda: after_failures(0).after_close(code, "slow consumer", 0))
    assert least >= 1
    assert most <= 1.5


def test_the_delays_start_small_again_after_a_connection_that_lasted():
    backoff = after_failures(8)
    backoff.after_close(1006, "", STABLE_SECONDS - 1)
    assert backoff.failures == 9
    backoff.after_close(1006, "", STABLE_SECONDS)
    assert backoff.failures == 1


@pytest.mark.parametrize("code", [1001, 1002, 1006, 1007, 1008, 1009, 1011, 1012, 1013, None])
def test_the_client_returns_after_these_closes(code):
    assert end_of(code, "", can_renew=False) == (False, None)


def test_these_closes_are_final():
    assert end_of(1000, "", can_renew=True) == (True, None)
    assert isinstance(end_of(4403, "origin", can_renew=True)[1], Forbidden)
    assert isinstance(end_of(4401, "expired", can_renew=False)[1], Unauthorized)
    assert end_of(4401, "expired", can_renew=True) == (False, None)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_these_refusals_are_temporary(status):
    assert refusal_of(status, "ws://host") is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 426])
def test_these_refusals_are_final_and_name_address_and_status(status):
    assert f"ws://host answered the upgrade with {status}" in str(refusal_of(status, "ws://host"))
