"""Small values that every message carries: moments as text, and dataclasses that are quick to make."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def fast_dataclass(cls: type[T]) -> type[T]:
    """A slotted dataclass that mypy treats as frozen.

    Making a frozen dataclass of nine fields takes 0.77 µs, making this one 0.14 µs, and every incoming message makes
    one (benchmarks/test_vocabulary.py).
    """
    return dataclass(slots=True)(cls)


def timestamp(seconds: float | None = None) -> str:
    """`seconds` since the epoch (default: now) as ISO 8601 in UTC with milliseconds: 2026-11-09T12:00:00.000Z."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
