"""Rejected messages are told once a minute and kind, with their number."""

from __future__ import annotations

from structlog.testing import capture_logs

from fastws.brokers.rejections import Rejections


def test_a_flood_of_poison_is_one_line_a_minute_and_kind() -> None:
    now = 0.0
    rejections = Rejections(clock=lambda: now)
    with capture_logs() as logs:
        for number in range(6_100):
            now = number / 100
            rejections.note("jobs", f"poison {number}")
            rejections.note("workspaces", "x" * 10_000)
    told = [(entry["kind"], entry["count"]) for entry in logs]
    assert told == [("jobs", 1), ("workspaces", 1), ("jobs", 6_000), ("workspaces", 6_000)]
    assert max(len(entry["reason"]) for entry in logs) == 200
