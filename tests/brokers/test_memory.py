"""The broker of a single process."""

from __future__ import annotations

from fastws.brokers.memory import MemoryBroker
from fastws.vocabulary.publication import Publication


class Recorder:
    def __init__(self) -> None:
        self.delivered: list[tuple[Publication, object]] = []

    def deliver(self, publication: Publication, receipt: object = None) -> None:
        self.delivered.append((publication, receipt))

    def gap(self, channel: str) -> None:
        raise AssertionError(f"nothing is ever lost, not on {channel} either")

    def count(self, channel: str) -> int:
        return 0


def test_publication_reaches_the_hub_at_once_with_its_receipt() -> None:
    deliverer, receipt = Recorder(), object()
    broker = MemoryBroker(deliverer)
    publication = Publication("admin", "e", {"n": 1})
    broker.publish(publication, receipt)  # type: ignore[arg-type]
    assert deliverer.delivered == [(publication, receipt)]


async def test_listening_is_ready_before_listen_returns() -> None:
    broker = MemoryBroker(Recorder())
    await broker.start()
    heard: list[str] = []
    broker.listen("admin", lambda: heard.append("ready"))
    assert heard == ["ready"]
    broker.unlisten("admin")
    assert broker.is_up
    assert broker.remote_count("admin") == 0
    await broker.stop()
