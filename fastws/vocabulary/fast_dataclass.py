"""A decorator for the values of the hot path: frozen to the type checker, quick to make when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """A slotted dataclass that mypy takes as frozen.

    A frozen dataclass of nine fields takes 0.77 µs to make, this one 0.14 µs, and one is made for every message
    that comes in (benchmarks/test_vocabulary.py).
    """
    return dataclass(slots=True)(cls)
