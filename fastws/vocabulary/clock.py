"""The time as messages carry it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def timestamp(seconds: float | None = None) -> str:
    """`seconds` since the epoch (default: now) as ISO 8601 in UTC with milliseconds: 2026-11-09T12:00:00.000Z."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
