"""The result of a run, as JSON on one line or as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

_MICROSECOND: Final = 1e3
# This client's own delay at p99, as a share of the latency at p99: worth a note, or the bottleneck.
NOTABLE_LATENESS: Final = 0.1
LARGE_LATENESS: Final = 0.5


@dataclass(slots=True, kw_only=True)
class Result:
    """Latencies are in µs, from the time a message was due to its arrival at a receiver; CPU is in cores.

    `missing` and `repeated` count (message, receiver) pairs. `late_us_p99` is the delay of the publisher itself in the
    open loop. Of the slow receivers the server closed `slow_closed`; `slow_whole` got everything when they read at the
    end; `slow_missing` counts the messages that the others did not get.
    """

    mode: str
    connections: int
    ready: int
    channels: int
    rate: float
    window: int
    payload_bytes: int
    processes: int
    connect_seconds: float
    connects_per_second: float
    seconds: float = 0.0
    messages: int = 0
    messages_per_second: float = 0.0
    deliveries: int = 0
    deliveries_per_second: float = 0.0
    p50_us: float = 0.0
    p90_us: float = 0.0
    p99_us: float = 0.0
    p999_us: float = 0.0
    max_us: float = 0.0
    min_us: float = 0.0
    timed: int = 0
    late_us_p99: float = 0.0
    client_cpu: list[float] = field(default_factory=list)
    server_cpu: float | None = None
    server_rss_bytes: int | None = None
    stalls: int = 0
    missing: int = 0
    repeated: int = 0
    acknowledged: int = 0
    rejected: int = 0
    slow_closed: int = 0
    slow_whole: int = 0
    slow_missing: int = 0
    reconnects: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    notices: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all receivers stayed connected and got everything exactly once."""
        return (
            self.ready + self.slow_closed >= self.connections
            and self.missing == self.repeated == self.rejected == 0
            and not self.closed
        )

    def to_json(self) -> str:
        fields = {name: _rounded(value) for name, value in asdict(self).items()}
        return json.dumps({**fields, "ok": self.is_complete})

    def to_text(self) -> str:
        lines = [
            (
                f"connections   {self.ready:,} of {self.connections:,} in {self.connect_seconds:.2f} s"
                f" ({self.connects_per_second:,.0f}/s)"
            )
        ]
        if self.mode != "idle":
            lines += self._traffic_lines()
        if self.client_cpu:
            lines.append(f"client CPU    {', '.join(f'{share:.0%}' for share in self.client_cpu)}")
        if self.server_cpu is not None:
            lines.append(f"server        CPU {self.server_cpu:.0%}, RSS {(self.server_rss_bytes or 0) / 1e6:,.1f} MB")
        lines += self._lateness_lines()
        if self.slow_closed or self.slow_whole or self.slow_missing:
            lines.append(
                f"slow readers  {self.slow_closed:,} closed by the server, {self.slow_whole:,} got everything late,"
                f" {self.slow_missing:,} messages missing at the others"
            )
        for title, counts in (("closed", self.closed), ("notices", self.notices), ("errors", self.errors)):
            if counts:
                lines.append(f"{title:<14}" + "; ".join(f"{what}: {count:,}" for what, count in counts.items()))
        return "\n".join(lines)

    def _traffic_lines(self) -> list[str]:
        return [
            f"messages      {self.messages_per_second:,.0f}/s over {self.seconds:.1f} s",
            f"deliveries    {self.deliveries_per_second:,.0f}/s ({self.deliveries:,})",
            (
                f"latency       p50 {_time(self.p50_us)}  p90 {_time(self.p90_us)}  p99 {_time(self.p99_us)}"
                f"  p99.9 {_time(self.p999_us)}  max {_time(self.max_us)}{self._loop_label()}"
            ),
            (
                f"complete      {self.missing:,} missing, {self.repeated:,} repeated or out of order,"
                f" {self.rejected:,} rejected by the server"
            ),
        ]

    def _loop_label(self) -> str:
        """In a closed loop most of the latency is the wait behind the other messages of the window."""
        if self.rate:
            return ""
        each = " per connection" if self.mode in ("echo", "ingest") else ""
        return f"  (with {self.window:,} outstanding{each}, queueing included)"

    def _lateness_lines(self) -> list[str]:
        """Says how much of the latency is this client's, if that is enough to matter."""
        if self.late_us_p99 <= NOTABLE_LATENESS * self.p99_us:
            return []
        late = _time(self.late_us_p99)
        if self.late_us_p99 < LARGE_LATENESS * self.p99_us:
            return [f"note          p99 includes up to {late} of this client's own delay"]
        return [f"note          this client was the bottleneck: it sent late (p99 {late}); use a lower --rate"]


def microseconds(nanoseconds: float) -> float:
    return nanoseconds / _MICROSECOND


def _rounded(value: object) -> object:
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 3) if isinstance(value, float) else value


def _time(value_us: float) -> str:
    return f"{value_us / 1000:.2f} ms" if value_us >= 1000 else f"{value_us:.0f} µs"
