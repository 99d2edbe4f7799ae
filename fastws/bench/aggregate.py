"""Adds up the replies of the processes of a load run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastws.bench.histogram import Histogram
from fastws.bench.result import Result, microseconds

Reply = dict[str, Any]
_COUNTS: Final = (
    *("ready", "missing", "repeated", "acknowledged", "rejected", "reconnects"),
    *("slow_closed", "slow_whole", "slow_missing"),
)


@dataclass(slots=True, frozen=True, kw_only=True)
class ReconnectResult:
    """How clients reconnected after they had lost their connection.

    `ready` of all clients are subscribed now, `away` lost their connection. Seconds count from the loss to the
    confirmed subscription. `refusals` counts the reasons why attempts failed in between.
    """

    ready: int
    away: int
    seconds: float
    p50_seconds: float
    p99_seconds: float
    max_seconds: float
    refusals: dict[str, int]


def reconnect_result(replies: Sequence[Reply]) -> ReconnectResult:
    """Adds up the replies to `wait_ready` or `disconnect_all`."""
    times = Histogram()
    refusals: Counter[str] = Counter()
    for reply in replies:
        times.merge(Histogram.from_dict(reply["reconnect_times"]))
        refusals.update(reply["refusals"])
    return ReconnectResult(
        ready=sum(reply["ready"] for reply in replies),
        away=times.count,
        seconds=max(reply["seconds"] for reply in replies),
        p50_seconds=times.quantile(0.5) / 1e9,
        p99_seconds=times.quantile(0.99) / 1e9,
        max_seconds=times.largest / 1e9,
        refusals=dict(refusals),
    )


def add_run(result: Result, replies: Sequence[Reply]) -> None:
    """Adds the replies to `run` to `result`."""
    lateness = Histogram()
    for reply in replies:
        result.deliveries += reply["deliveries"]
        result.messages += reply["messages"]
        result.seconds = max(result.seconds, reply["seconds"])
        result.deliveries_per_second += reply["deliveries"] / reply["seconds"]
        result.messages_per_second += reply["messages"] / reply["seconds"]
        result.client_cpu.append(reply["client_cpu"])
        result.stalls += reply["stalls"]
        if reply["lateness"] is not None:
            lateness.merge(Histogram.from_dict(reply["lateness"]))
    result.late_us_p99 = microseconds(lateness.quantile(0.99))


def add_settled(result: Result, replies: Sequence[Reply]) -> None:
    """Adds the replies to `settle` to `result`."""
    latencies = Histogram()
    result.ready = 0
    for reply in replies:
        latencies.merge(Histogram.from_dict(reply["latencies"]))
        for name in _COUNTS:
            setattr(result, name, getattr(result, name) + reply[name])
        for name in ("closed", "notices", "errors"):
            counts = getattr(result, name)
            for what, count in reply[name].items():
                counts[what] = counts.get(what, 0) + count
    result.timed = latencies.count
    if latencies.count:
        result.p50_us, result.p90_us, result.p99_us, result.p999_us = (
            microseconds(latencies.quantile(share)) for share in (0.5, 0.9, 0.99, 0.999)
        )
        result.max_us = microseconds(latencies.largest)
        result.min_us = microseconds(latencies.smallest)
