"""Timestamps as text, and dataclasses that are fast to create."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def fast_dataclass(cls: type[T]) -> type[T]:
    """Make `cls` a slotted dataclass that mypy treats as frozen.

    Creating a frozen dataclass of nine fields takes 0.77 µs, creating this one 0.14 µs. One is created for each
    incoming message (benchmarks/test_vocabulary.py).
    """
    return dataclass(slots=True)(cls)


def timestamp(seconds: float | None = None) -> str:
    """Return `seconds` since the epoch (default: now) as ISO 8601 in UTC, for example 2026-11-09T12:00:00.000Z."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
