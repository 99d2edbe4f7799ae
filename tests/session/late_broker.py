"""A broker that is not ready at once, as one over a network is not."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

from fastws.brokers.memory import MemoryBroker
from fastws.config import Config
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.hub.hub import Hub
from fastws.hub.ports import Receipt
from fastws.server.assembly import Assembly
from fastws.server.server import Server
from fastws.vocabulary.publication import Publication


class LateBroker(MemoryBroker):
    """Answers `listen` when the test says so: `confirm(channel)`. `unlistened` are the channels let go of."""

    def __init__(self, hub: Hub, config: Config) -> None:
        super().__init__(hub, config)
        self.waiting: dict[str, list[Callable[[], None]]] = {}
        self.unlistened: list[str] = []
        self.is_away = False

    def listen(
        self, channel: str, ready: Callable[[], None], refused: Callable[[FastWSError], None] | None = None
    ) -> None:
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


class LateAssembly(Assembly):
    """The parts of a server on a LateBroker."""

    def _make_broker(self, node_id: str) -> LateBroker:
        return LateBroker(self.hub, self._config)


class LateServer(Server):
    """A server on a LateBroker."""

    def _assemble(self) -> None:
        with patch("fastws.server.server.Assembly", LateAssembly):
            super()._assemble()

    @property
    def late_broker(self) -> LateBroker:
        assert isinstance(self.broker, LateBroker)
        return self.broker
