"""Servers with a broker that is not ready at once, as one over a network is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import pytest_asyncio

from fastws.brokers.history import MemoryHistory
from fastws.brokers.memory import MemoryBroker
from fastws.config import Config
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.hub.hub import Hub
from fastws.hub.ports import Receipt
from fastws.server.app_channels import make_history, make_history_rules
from fastws.server.assembly import Assembly
from fastws.server.server import Server
from fastws.vocabulary.positions import Past
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.pusher_apps import PusherApps
from tests.serving import KEY, PATIENCE_SECONDS, SECRET


class LateBroker(MemoryBroker):
    """Answers `listen` when the test calls `confirm` or `refuse`.

    `unlistened` are the channels given to `unlisten`, `refusals` the errors of channels that have subscribers.
    """

    def __init__(self, hub: Hub, config: Config, history: LateHistory | None) -> None:
        super().__init__(hub, config, history)
        self.waiting: dict[str, list[Callable[[], None]]] = {}
        self.refusers: dict[str, list[Callable[[FastWSError], None]]] = {}
        self.unlistened: list[str] = []
        self.refusals: dict[str, FastWSError] = {}
        self.is_away = False

    @property
    def receives_everything(self) -> bool:
        return False

    def listen(
        self, channel: str, ready: Callable[[], None], refused: Callable[[FastWSError], None] | None = None
    ) -> None:
        self.waiting.setdefault(channel, []).append(ready)
        if refused is not None:
            self.refusers.setdefault(channel, []).append(refused)

    def refusal(self, channel: str) -> FastWSError | None:
        return self.refusals.get(channel)

    def unlisten(self, channel: str) -> None:
        self.unlistened.append(channel)

    def confirm(self, channel: str) -> None:
        self.refusers.pop(channel, None)
        for ready in self.waiting.pop(channel):
            ready()

    def refuse(self, channel: str, error: FastWSError) -> None:
        del self.waiting[channel]
        for refused in self.refusers.pop(channel):
            refused(error)

    def publish(self, publication: Publication, receipt: Receipt | None = None, message_id: str | None = None) -> None:
        if self.is_away and receipt is not None:
            receipt.refused(BrokerUnavailable("Redis is away"))
        else:
            super().publish(publication, receipt)


class LateHistory(MemoryHistory):
    """Answers `recover` when the test calls `answer`, with what is complete at that moment."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked: dict[str, list[Callable[[], None]]] = {}
        self.error: FastWSError | None = None

    def recover(self, channel: str, past: Past, answer: Any, late: Any) -> None:
        ask = super().recover
        self.asked.setdefault(channel, []).append(
            lambda: ask(channel, past, answer, late) if self.error is None else answer(self.error)
        )

    def answer(self, channel: str) -> None:
        for ask in self.asked.pop(channel):
            ask()


class LateAssembly(Assembly):
    """The parts of a server on a LateBroker."""

    def _make_broker(self, node_id: str) -> LateBroker:
        with patch("fastws.server.app_channels.MemoryHistory", LateHistory):
            history = make_history(self._config, make_history_rules(self._config, PusherApps()), self.hub)
        assert history is None or isinstance(history, LateHistory)
        return LateBroker(self.hub, self._config, history)


class LateServer(Server):
    """A server on a LateBroker."""

    def _assemble(self) -> None:
        with patch("fastws.server.server.Assembly", LateAssembly):
            super()._assemble()

    @property
    def late_broker(self) -> LateBroker:
        assert isinstance(self.broker, LateBroker)
        return self.broker


ServeLate = Callable[..., Awaitable[LateServer]]


@pytest_asyncio.fixture
async def serve_late() -> AsyncIterator[ServeLate]:
    """Starts servers with a LateBroker: `await serve_late(max_channels=3)`."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> LateServer:
            config = Config(port=0, jwt_secret=SECRET, broadcast_key=(KEY,), **settings)
            return await stack.enter_async_context(LateServer(config))

        yield start


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until `condition` is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0)
