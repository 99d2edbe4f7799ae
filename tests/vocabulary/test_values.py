"""The time as messages carry it."""

from __future__ import annotations

import time
from datetime import datetime

from fastws.vocabulary.values import timestamp


def test_it_is_iso_8601_in_utc_with_milliseconds() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1699369800.9999) == "2023-11-07T15:10:00.999Z"


def test_without_a_moment_it_is_now() -> None:
    before = time.time()
    now = datetime.fromisoformat(timestamp()).timestamp()
    assert before - 0.001 <= now <= time.time()  # whole milliseconds
