"""What the processes of a load run answered, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastws.bench.histogram import Histogram
from fastws.bench.result import Result, microseconds

Answer = dict[str, Any]
_COUNTS: Final = (
    *("ready", "missing", "repeated", "acknowledged", "rejected", "reconnects"),
    *("slow_closed", "slow_whole", "slow_missing"),
)


@dataclass(slots=True, frozen=True, kw_only=True)
class Return:
    """How clients that had lost their connection came back: `ready` of all are subscribed, `away` were not for a while;
    seconds from the loss to the confirmed subscription. `refusals`: what they were told in between."""

    ready: int
    away: int
    seconds: float
    p50_seconds: float
    p99_seconds: float
    max_seconds: float
    refusals: dict[str, int]


def return_of(answers: Sequence[Answer]) -> Return:
    """Of what each answered to `wait_ready` or `cut`."""
    returns = Histogram()
    refusals: Counter[str] = Counter()
    for answer in answers:
        returns.merge(Histogram.from_dict(answer["returns"]))
        refusals.update(answer["refusals"])
    return Return(
        ready=sum(answer["ready"] for answer in answers),
        away=returns.count,
        seconds=max(answer["seconds"] for answer in answers),
        p50_seconds=returns.quantile(0.5) / 1e9,
        p99_seconds=returns.quantile(0.99) / 1e9,
        max_seconds=returns.largest / 1e9,
        refusals=dict(refusals),
    )


def add_run(result: Result, answers: Sequence[Answer]) -> None:
    """What each answered to `run`, into `result`."""
    lateness = Histogram()
    for answer in answers:
        result.deliveries += answer["deliveries"]
        result.messages += answer["messages"]
        result.seconds = max(result.seconds, answer["seconds"])
        result.deliveries_per_second += answer["deliveries"] / answer["seconds"]
        result.messages_per_second += answer["messages"] / answer["seconds"]
        result.client_cpu.append(answer["client_cpu"])
        result.stalls += answer["stalls"]
        if answer["lateness"] is not None:
            lateness.merge(Histogram.from_dict(answer["lateness"]))
    result.late_us_p99 = microseconds(lateness.quantile(0.99))


def add_end(result: Result, answers: Sequence[Answer]) -> None:
    """What each answered to `settle`, into `result`."""
    latencies = Histogram()
    result.ready = 0
    for answer in answers:
        latencies.merge(Histogram.from_dict(answer["latencies"]))
        for name in _COUNTS:
            setattr(result, name, getattr(result, name) + answer[name])
        for name in ("closed", "notices", "errors"):
            counts = getattr(result, name)
            for what, count in answer[name].items():
                counts[what] = counts.get(what, 0) + count
    result.timed = latencies.count
    if latencies.count:
        result.p50_us, result.p90_us, result.p99_us, result.p999_us = (
            microseconds(latencies.quantile(share)) for share in (0.5, 0.9, 0.99, 0.999)
        )
        result.max_us = microseconds(latencies.largest)
        result.min_us = microseconds(latencies.smallest)
