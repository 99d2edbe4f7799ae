"""What a run found: one value, as a line of JSON or as a few lines for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

_MICROSECOND: Final = 1e3


@dataclass(slots=True, kw_only=True)
class Result:
    """Latencies in µs from the moment a message was due to its arrival at a receiver. `missing` and `repeated` count
    (message, receiver) pairs; `late_us_p99` is how late the publisher itself was in the open loop. CPU in cores. Of the
    receivers that never read, `slow_closed` were cut off, `slow_whole` heard everything when they read in the end, and
    `slow_missing` counts what the others did not."""

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
    def is_whole(self) -> bool:
        """Whether everybody was there to the end and heard everything, once."""
        return (
            self.ready + self.slow_closed >= self.connections
            and self.missing == self.repeated == self.rejected == 0
            and not self.closed
        )

    def to_json(self) -> str:
        fields = {name: _rounded(value) for name, value in asdict(self).items()}
        return json.dumps({**fields, "ok": self.is_whole})

    def to_text(self) -> str:
        lines = [
            (
                f"connections   {self.ready:,} of {self.connections:,} in {self.connect_seconds:.2f} s"
                f" ({self.connects_per_second:,.0f}/s)"
            )
        ]
        if self.mode != "idle":
            lines += [
                f"messages      {self.messages_per_second:,.0f}/s over {self.seconds:.1f} s",
                f"deliveries    {self.deliveries_per_second:,.0f}/s ({self.deliveries:,})",
                (
                    f"latency       p50 {_time(self.p50_us)}  p90 {_time(self.p90_us)}  p99 {_time(self.p99_us)}"
                    f"  p99.9 {_time(self.p999_us)}  max {_time(self.max_us)}"
                ),
                (
                    f"complete      {self.missing:,} missing, {self.repeated:,} repeated or out of order,"
                    f" {self.rejected:,} rejected by the server"
                ),
            ]
        lines.append(f"client CPU    {', '.join(f'{share:.0%}' for share in self.client_cpu) or '-'}")
        if self.server_cpu is not None:
            lines.append(f"server        CPU {self.server_cpu:.0%}, RSS {(self.server_rss_bytes or 0) / 1e6:,.1f} MB")
        if self.late_us_p99 > 1000:
            lines.append(f"note          this client sent late (p99 {_time(self.late_us_p99)}): it was the bottleneck")
        if self.slow_closed or self.slow_whole or self.slow_missing:
            lines.append(
                f"slow readers  {self.slow_closed:,} cut off by the server, {self.slow_whole:,} heard everything late,"
                f" {self.slow_missing:,} messages missing at others"
            )
        for title, counts in (("closed", self.closed), ("notices", self.notices), ("errors", self.errors)):
            if counts:
                lines.append(f"{title:<14}" + "; ".join(f"{what}: {count:,}" for what, count in counts.items()))
        return "\n".join(lines)


def microseconds(nanoseconds: float) -> float:
    return nanoseconds / _MICROSECOND


def _rounded(value: object) -> object:
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 3) if isinstance(value, float) else value


def _time(value_us: float) -> str:
    return f"{value_us / 1000:.2f} ms" if value_us >= 1000 else f"{value_us:.0f} µs"
