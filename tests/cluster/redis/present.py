"""Processes with presence on a real Redis. Their connections are only names; their beats are called by the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.cluster.channel_presence import PresenceRule
from fastws.cluster.presence import ProcessPresence
from fastws.cluster.redis.presence import RedisPresence
from fastws.counters import Counters
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.vocabulary.connection_ids import connection_ids
from fastws.vocabulary.presence import PresenceMember, PresencePage, PresenceUpdate
from tests.brokers.small_cluster import QUICK, Process

RULES = {"c": PresenceRule("members", 0.0), "a{b}%": PresenceRule("members", None), "n": PresenceRule("count", 0.0)}
Figures = tuple[int, int]


class Present(Process):
    """A process and what its subscribers were told. A connection belongs to the user before the `/` of its name."""

    def __init__(self, url: str, node_id: str, timeouts: RedisTimeouts = QUICK) -> None:
        super().__init__(url, node_id, timeouts)
        loop = asyncio.get_running_loop()
        self.now = 0.0
        self.users: dict[str, str] = {}
        self.told: deque[PresenceUpdate] = deque()
        self.ids = connection_ids(node_id)
        self.table = ProcessPresence(RULES.get, self._member, self._notify, loop.call_soon, loop.call_later, Counters())
        self.presence = RedisPresence(
            self.broker, self.cluster.nodes, self.cluster.registry, self.table, lambda: self.now
        )

    def _member(self, connection_id: str) -> PresenceMember | None:
        user = self.users[connection_id]
        return PresenceMember(connection_id, user, info=[user]) if user else None

    def _notify(self, name: str, update: PresenceUpdate) -> Iterator[int]:
        self.told.append(update)
        yield 1

    def join(self, user: str = "u", channel: str = "c") -> str:
        connection_id = next(self.ids)
        self.users[connection_id] = user
        self.table.joined(connection_id, channel)
        return connection_id

    async def page(self, channel: str = "c", limit: int = 100, cursor: str | None = None) -> PresencePage:
        answered: asyncio.Future[PresencePage | FastWSError] = asyncio.get_running_loop().create_future()
        self.table.page(channel, limit, cursor, answered.set_result)
        answer = await answered
        if isinstance(answer, FastWSError):
            raise answer
        return answer

    async def knows(self, *ids: str, channel: str = "c") -> None:
        """Wait until the members are exactly these."""
        async with asyncio.timeout(30):
            while {one.connection_id for one in (await self.page(channel)).members or ()} != set(ids):
                await asyncio.sleep(0.01)

    async def counts(self, figures: Figures, channel: str = "c") -> None:
        """Wait until number and users are these."""
        async with asyncio.timeout(30):
            while ((page := await self.page(channel)).count, page.users) != figures:
                await asyncio.sleep(0.01)

    async def is_told(self) -> PresenceUpdate:
        """The next update."""
        async with asyncio.timeout(30):
            while not self.told:
                await asyncio.sleep(0.01)
        return self.told.popleft()

    async def has_written(self) -> None:
        """Wait until Redis has executed all commands so far, or until they are lost."""
        self.presence._flush()
        with contextlib.suppress(BrokerUnavailable):
            await self.broker.commander.call(b"GET", self.broker.names.service("nothing"))

    async def beat(self, seconds: float = QUICK.presence_seconds) -> None:
        """One beat after `seconds`, and whatever it asks of Redis."""
        self.now += seconds
        self.presence.beat()
        for _ in range(3):  # a comparison, a read, a write
            await self.has_written()


@asynccontextmanager
async def present(url: str, *node_ids: str, timeouts: RedisTimeouts = QUICK) -> AsyncIterator[list[Present]]:
    """Running processes that know each other."""
    members = [Present(url, node_id, timeouts) for node_id in node_ids]
    for member in members:
        await member.broker.start()
        await member.cluster.start()
    try:
        yield members
    finally:
        for member in members:
            await member.presence.stop()
            await member.cluster.stop()
            await member.broker.stop()
