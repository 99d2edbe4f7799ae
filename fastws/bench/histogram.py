"""A histogram of latencies with logarithmic buckets 1.6 % wide. Adding and merging are increments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_STEPS: Final = 6  # 2 ** 6 buckets for each doubling
_HALF: Final = 1 << _STEPS


class Histogram:
    """Counts of nanoseconds."""

    __slots__ = ("buckets", "count", "largest", "smallest")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.largest = 0
        self.smallest = 1 << 62

    def add(self, nanoseconds: int) -> None:
        """Costs 0.3 µs."""
        if nanoseconds > self.largest:
            self.largest = nanoseconds
        if nanoseconds < self.smallest:
            self.smallest = nanoseconds
        shift = nanoseconds.bit_length() - _STEPS - 1
        bucket = nanoseconds if shift <= 0 else (shift << _STEPS) + (nanoseconds >> shift)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.count += 1

    def merge(self, other: Histogram) -> None:
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.largest = max(self.largest, other.largest)
        self.smallest = min(self.smallest, other.smallest)

    def quantile(self, share: float) -> float:
        """The quantile `share` (0 to 1) in nanoseconds; 0.0 if the histogram is empty."""
        wanted = share * self.count
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(_middle(bucket), float(self.largest))
        return 0.0

    def to_dict(self) -> dict[str, object]:
        """A form for JSON, which `from_dict` reads."""
        return {"buckets": sorted(self.buckets.items()), "largest": self.largest, "smallest": self.smallest}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Histogram:
        histogram = cls()
        histogram.buckets = dict(fields["buckets"])  # type: ignore[call-overload] # pairs, as to_dict writes them
        histogram.count = sum(histogram.buckets.values())
        histogram.largest = int(fields["largest"])  # type: ignore[call-overload]
        histogram.smallest = int(fields["smallest"])  # type: ignore[call-overload]
        return histogram


def _middle(bucket: int) -> float:
    if bucket < 2 * _HALF:
        return float(bucket)
    shift = (bucket >> _STEPS) - 1
    return float(((bucket & (_HALF - 1)) + _HALF << shift) + (1 << shift) / 2)
