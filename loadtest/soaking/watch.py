"""Samples the server's metrics during a soak, and tells whether its memory grows."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from fastws.bench.usage import usage_of

SAMPLE_SECONDS = 2.0
# Allocators round up, so a soak of minutes cannot tell less growth from noise.
GROWTH_SHARE = 0.20
GROWTH_BYTES = 24 << 20
START_SECONDS = 30.0
STABLE_SAMPLES = 3
STABLE_SECONDS = 0.5


@dataclass(frozen=True)
class Sample:
    """Sums over all processes of the server; `rss_bytes` is the average per process, since a roll adds processes."""

    rss_bytes: float
    descriptors: float
    connections: float
    queue_bytes: float
    subscriptions: float
    processes: int


class Watch:
    """Reads /metrics every SAMPLE_SECONDS, and /proc for `pid` and its descendants if given."""

    def __init__(self, url: str, pid: int | None = None) -> None:
        self._pid = pid
        parts = urlsplit(url)
        self._url = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}/metrics"
        self.samples: list[Sample] = []
        self.unanswered = 0

    async def run(self) -> None:
        while True:
            sample = await self.read()
            if sample is not None:
                self.samples.append(sample)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def read(self) -> Sample | None:
        """Take a sample; None if the server does not answer (a worker died, or it is full)."""
        try:
            async with httpx.AsyncClient(timeout=10, verify=False, trust_env=False) as client:
                text = (await client.get(self._url)).raise_for_status().text
        except httpx.HTTPError:
            self.unanswered += 1
            return None
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        memory = totals.get("process_resident_memory_bytes", 0.0)
        processes = 1
        if self._pid is not None:
            use = usage_of([self._pid])
            processes = use.processes
            memory = use.rss_bytes / processes
        return Sample(
            memory,
            totals.get("process_open_fds", 0.0),
            totals.get("fastws_connections", 0.0),
            totals.get("fastws_queue_bytes", 0.0),
            totals.get("fastws_subscriptions", 0.0),
            processes,
        )

    async def wait_until_started(self) -> Sample | None:
        """The sample once its descriptors no longer change, since workers may still be starting; None if it is away."""
        sample, deadline = await self.read(), asyncio.get_running_loop().time() + START_SECONDS
        unchanged = 0
        while unchanged < STABLE_SAMPLES and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(STABLE_SECONDS)
            latest = await self.read()
            is_same = sample is not None and latest is not None and latest.descriptors == sample.descriptors
            unchanged = unchanged + 1 if is_same else 0
            sample = latest
        return sample

    async def wait_until_empty(self, seconds: float, processes: int) -> Sample | None:
        """Wait until all clients and replaced workers are gone, `seconds` at most. Returns the last sample."""
        sample = None
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            sample = await self.read() or sample
            if sample is not None and sample.connections == 0 and sample.processes <= processes:
                break
            await asyncio.sleep(0.5)
        return sample

    def growth(self) -> tuple[float, float] | None:
        """RSS in bytes in the second and in the last quarter of the run; None if the run was too short."""
        if len(self.samples) < 8:
            return None
        quarter = len(self.samples) // 4
        memory = [sample.rss_bytes for sample in self.samples]
        return statistics.median(memory[quarter : 2 * quarter]), statistics.median(memory[-quarter:])


def has_grown(before: float, after: float) -> bool:
    return after - before > max(GROWTH_BYTES, before * GROWTH_SHARE)
