"""What a message object costs: why vocabulary/fast_dataclass.py freezes for the type checker only."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_benchmark.fixture import BenchmarkFixture

from fastws.vocabulary.publication import Publication


@dataclass(slots=True, frozen=True)
class ReallyFrozen:
    channel: str
    event: str
    data: object = None
    type: str | None = None
    sender: str | None = None
    timestamp: str | None = None
    priority: str | None = None
    seq: int | None = None
    key: str | None = None


def test_publication(benchmark: BenchmarkFixture) -> None:
    benchmark(Publication, "news", "hello", None, None, "sender")


def test_frozen_dataclass(benchmark: BenchmarkFixture) -> None:
    benchmark(ReallyFrozen, "news", "hello", None, None, "sender")
