"""The replies of several processes added up to one result."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.bench.aggregate import add_run, add_settled, reconnect_result
from fastws.bench.histogram import Histogram
from fastws.bench.result import Result

COUNTS = ("ready", "missing", "repeated", "acknowledged", "rejected", "reconnects", "slow_closed", "slow_whole")


def histogram(*nanoseconds: int) -> dict[str, object]:
    made = Histogram()
    for each in nanoseconds:
        made.add(each)
    return made.to_dict()


def empty() -> Result:
    return Result(
        mode="fan-out",
        connections=2,
        ready=0,
        channels=1,
        rate=0.0,
        window=1,
        payload_bytes=100,
        processes=2,
        connect_seconds=1.0,
        connects_per_second=2.0,
    )


def run(deliveries: int, seconds: float, lateness: dict[str, object] | None) -> dict[str, Any]:
    same = {"client_cpu": 0.5, "stalls": 1, "lateness": lateness}
    return {"deliveries": deliveries, "messages": deliveries // 10, "seconds": seconds, **same}


def test_rates_add_up_and_the_slowest_process_gives_the_time() -> None:
    result = empty()
    add_run(result, [run(100, 1.0, None), run(300, 2.0, histogram(5000))])
    assert (result.deliveries, result.messages, result.seconds) == (400, 40, 2.0)
    assert result.deliveries_per_second == 100 / 1.0 + 300 / 2.0
    assert result.messages_per_second == 10 / 1.0 + 30 / 2.0
    assert (result.client_cpu, result.stalls) == ([0.5, 0.5], 2)
    assert result.late_us_p99 == pytest.approx(5.0)


def settled(count: int, latencies: dict[str, object], **more: dict[str, int]) -> dict[str, Any]:
    counts = dict.fromkeys((*COUNTS, "slow_missing"), count)
    return {**counts, "latencies": latencies, "closed": {}, "notices": {}, "errors": {}, **more}


def test_counts_and_kinds_add_up_and_latencies_are_those_of_all_processes() -> None:
    result = empty()
    first = settled(1, histogram(1000, 1000), closed={"1006": 1}, notices={"lag": 2})
    second = settled(2, histogram(64_000), closed={"1006": 1, "1013": 3})
    add_settled(result, [first, second])
    assert [getattr(result, name) for name in (*COUNTS, "slow_missing")] == [3] * 9
    assert (result.closed, result.notices, result.errors) == ({"1006": 2, "1013": 3}, {"lag": 2}, {})
    assert (result.timed, result.min_us, result.max_us) == (3, 1.0, 64.0)
    assert result.p50_us == pytest.approx(1.0, rel=0.02)
    assert result.p99_us == pytest.approx(64.0, rel=0.02)


def test_without_latencies_there_are_no_quantiles() -> None:
    result = empty()
    add_settled(result, [settled(0, histogram())])
    assert (result.timed, result.p50_us, result.max_us, result.min_us) == (0, 0.0, 0.0, 0.0)


def test_reconnects_have_the_times_and_refusals_of_all_processes() -> None:
    second = 1_000_000_000
    replies = [
        {"ready": 3, "seconds": 1.5, "reconnect_times": histogram(second), "refusals": {"503": 1}},
        {"ready": 4, "seconds": 2.5, "reconnect_times": histogram(3 * second), "refusals": {"503": 1, "reset": 1}},
    ]
    found = reconnect_result(replies)
    assert (found.ready, found.away, found.seconds, found.max_seconds) == (7, 2, 2.5, 3.0)
    assert found.p50_seconds == pytest.approx(1.0, rel=0.02)
    assert found.refusals == {"503": 2, "reset": 1}
