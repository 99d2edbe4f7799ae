"""A scrape of a real server that has had clients, and the sources, for what deploy files refer to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

import fastws
from fastws.config import Config
from fastws.server.server import Server
from tests.serving import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@dataclass
class Scrape:
    """`names` are those of samples; the rest goes by the name that Prometheus files them under."""

    names: set[str] = field(default_factory=set)
    help: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    labels: dict[str, set[str]] = field(default_factory=dict)


@pytest_asyncio.fixture
async def scrape() -> Scrape:
    """What /metrics of a server with a client says."""
    async with (
        Server(Config(port=0, log_level="error", pusher_apps=("1:key:secret",))) as server,
        connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as client,
    ):
        await client.recv()
        text = _own(server)
    seen = Scrape()
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        seen.names.add(name)
        seen.help[name] = family.documentation
        seen.types[name] = family.type
        for sample in family.samples:
            seen.names.add(sample.name)
            seen.labels.setdefault(name, set()).update(sample.labels)
    return seen


def _own(server: Server) -> str:
    from fastws.telemetry.exposition import Exposition

    return Exposition(server.counters, server.hub, server.roster, server.broker).render().decode()


@pytest.fixture(scope="session")
def sources() -> str:
    """All of the package's Python, with its line breaks taken out of strings' way."""
    folder = Path(fastws.__file__).parent
    return re.sub(r"\s+", " ", "\n".join(path.read_text() for path in sorted(folder.rglob("*.py"))))
