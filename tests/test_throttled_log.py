"""A flood of events is one line per kind and minute, with their number."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from fastws.throttled_log import ThrottledLog


def test_a_flood_is_one_line_a_minute_and_kind() -> None:
    now = 0.0
    throttled = ThrottledLog(structlog.get_logger(), clock=lambda: now)
    with capture_logs() as logs:
        for number in range(6_100):
            now = number / 100
            throttled.warning("rejected", kind="jobs", reason=str(number))
            throttled.error("rejected", kind="workspaces")
    assert [(entry["kind"], entry["log_level"], entry["count"]) for entry in logs] == [
        ("jobs", "warning", 1),
        ("workspaces", "error", 1),
        ("jobs", "warning", 6_000),
        ("workspaces", "error", 6_000),
    ]
    assert [entry["reason"] for entry in logs[::2]] == ["0", "6000"]


def test_an_event_without_a_kind_is_a_kind_of_its_own() -> None:
    throttled = ThrottledLog(structlog.get_logger(), seconds=10.0, clock=lambda: 0.0)
    with capture_logs() as logs:
        throttled.warning("one", field=1)
        throttled.warning("two")
        throttled.warning("one")
    assert logs == [
        {"event": "one", "log_level": "warning", "field": 1, "count": 1},
        {"event": "two", "log_level": "warning", "count": 1},
    ]
