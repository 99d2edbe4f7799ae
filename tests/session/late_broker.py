"""A broker that is not ready at once, as one over a network is not."""

from __future__ import annotations

from collections.abc import Callable

from fastws.brokers.memory import MemoryBroker
from fastws.errors import BrokerUnavailable
from fastws.hub.ports import Receipt
from fastws.server.server import Server
from fastws.vocabulary.publication import Publication


class LateBroker(MemoryBroker):
    """Answers `listen` when the test says so: `confirm(channel)`. `unlistened` are the channels let go of."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.hub, server.config)
        self.waiting: dict[str, list[Callable[[], None]]] = {}
        self.unlistened: list[str] = []
        self.is_away = False

    def listen(self, channel: str, ready: Callable[[], None]) -> None:
        self.waiting.setdefault(channel, []).append(ready)

    def unlisten(self, channel: str) -> None:
        self.unlistened.append(channel)

    def confirm(self, channel: str) -> None:
        for ready in self.waiting.pop(channel):
            ready()

    def publish(self, publication: Publication, receipt: Receipt | None = None) -> None:
        if self.is_away and receipt is not None:
            receipt.refused(BrokerUnavailable("Redis is away"))
        else:
            super().publish(publication, receipt)


class LateServer(Server):
    """A server on a LateBroker."""

    late_broker: LateBroker

    def _make_broker(self) -> LateBroker:
        self.late_broker = LateBroker(self)
        return self.late_broker
