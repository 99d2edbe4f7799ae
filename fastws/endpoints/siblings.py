"""All workers of a machine asked as one: each answers for itself on a Unix socket; one scrape adds them all up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from fastws.endpoints.application import Application
from fastws.endpoints.exposition import CONTENT_TYPE, Exposition
from fastws.vocabulary.response import Response
from fastws.wire.request import Request

log = structlog.stdlib.get_logger("fastws.metrics")

SIBLING_SECONDS: Final = 1.0
# What is not a sum over processes: the oldest start, the worst of the workers' brokers.
LEAST: Final = frozenset({"process_start_time_seconds", "fastws_broker_up", "python_info"})
_REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\n\r\n"


class AllWorkers:
    """GET /metrics over every worker whose socket is in `folder`, and what all of them are told."""

    def __init__(self, own: Exposition, folder: Path, own_socket: Path) -> None:
        self._own = own
        self._folder = folder
        self._own_socket = own_socket

    async def __call__(self, application: Application, request: Request, **_: str) -> Response:
        texts = [self._own.render().decode(), *await self._ask(_REQUEST)]
        return Response(200, merge(texts), (("Content-Type", CONTENT_TYPE),))

    async def tell(self, request: bytes) -> None:
        """Send `request` to every other worker, each of which answers for itself alone."""
        await self._ask(request)

    async def _ask(self, request: bytes) -> list[str]:
        others = [path for path in sorted(self._folder.glob("*.sock")) if path != self._own_socket]
        return await asyncio.gather(*(_ask(path, request) for path in others))


async def _ask(path: Path, request: bytes) -> str:
    """The body of a sibling's answer; empty where there is none (it is starting, or has just died)."""
    try:
        async with asyncio.timeout(SIBLING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(request)
                answer = await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        log.debug("a worker did not answer", socket=path.name, error=str(error))
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode()


def merge(texts: Iterable[str]) -> bytes:
    """Expositions of several processes as one: samples of equal name and labels added up."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            families.setdefault(family.name, family)
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                if key not in samples:
                    samples[key] = sample.value
                elif sample.name in LEAST:
                    samples[key] = min(samples[key], sample.value)
                else:
                    samples[key] += sample.value
    registry = CollectorRegistry()
    registry.register(_Merged(families, values))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(
        self,
        families: dict[str, Metric],
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]],
    ) -> None:
        self._families = families
        self._values = values

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        for name, family in self._families.items():
            merged = Metric(name, family.documentation, family.type)
            for (sample, labels), value in self._values[name].items():
                merged.add_sample(sample, dict(labels), value)
            yield merged
