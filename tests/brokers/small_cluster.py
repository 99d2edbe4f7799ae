"""Processes of a cluster in one test: a broker, a hub of counts, clients that are only descriptions."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastws.access.revocation import Revocations
from fastws.brokers.history import HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.cluster.one_process import OneProcess
from fastws.cluster.redis.cluster import RedisCluster
from fastws.config import Config
from fastws.errors import FastWSError
from fastws.hub.ports import Receipt
from fastws.hub.roster import Roster
from fastws.vocabulary.connection_ids import connection_ids
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import RecordingHub, value_of

# Told often; nobody is forgotten, or given up, because the machine is busy.
QUICK = RedisTimeouts(heartbeat_seconds=0.05, node_expiry_seconds=600.0, probe_seconds=0.1, request_seconds=600.0)


@dataclass(eq=False)
class Client:
    """What the cluster looks at in a client."""

    id: str
    user: str
    dialect_name: str = "channels"
    codec_name: str = "json"
    client_id: str | None = None
    realm: str | None = None
    issued_at: float = 1000.0
    is_revoked: bool = False
    queue_is_full: bool = False
    taken: list[object] = field(default_factory=list)

    @property
    def identity(self) -> Identity:
        return Identity(self.user, token_id=f"jti-{self.id}", issued_at=self.issued_at)

    def revoke(self) -> None:
        self.is_revoked = True


class ChannelOfCounts:
    def __init__(self, subscribers: int) -> None:
        self.subscribers = subscribers


class Counts(defaultdict[str, int]):
    """Numbers of subscribers that a test sets. Reports each change, as a hub does."""

    def __init__(self, hub: HubOfCounts) -> None:
        super().__init__(int)
        self.hub = hub

    def __missing__(self, name: str) -> int:
        return 0

    def __setitem__(self, name: str, count: int) -> None:
        super().__setitem__(name, count)
        if self.hub.count_changed is not None:
            self.hub.count_changed(name)


class HubOfCounts(RecordingHub):
    def __init__(self) -> None:
        super().__init__()
        self.count_changed: Callable[[str], object] | None = None
        self.subscribers = Counts(self)

    @property
    def channels(self) -> dict[str, ChannelOfCounts]:
        return {name: ChannelOfCounts(count) for name, count in self.subscribers.items() if count}


class Local:
    """What cluster/one_process.py answers, for clients that are only descriptions."""

    def __init__(self, roster: Roster, revocations: Revocations) -> None:
        self.roster = roster
        self.clients: dict[str, Client] = roster.clients  # type: ignore[assignment]
        self.revocations = revocations
        self.enforce = OneProcess(None, roster, revocations).enforce  # type: ignore[arg-type]

    async def page(
        self, *, user: str | None, channel: str | None, cursor: str | None, limit: int, client_id: str | None = None
    ) -> tuple[list[dict[str, object]], str | None]:
        clients = [c for c in self.clients.values() if user in (None, c.user) and client_id in (None, c.client_id)]
        ids = [client.id for client in clients if client.id > (cursor or "")]
        return [{"id": i, "user": self.clients[i].user} for i in heapq.nsmallest(limit, ids)], None

    async def describe(self, connection_id: str) -> dict[str, object] | None:
        client = self.clients.get(connection_id)
        return None if client is None else {"id": client.id, "user": client.user}

    async def close(self, connection_id: str) -> bool:
        client = self.clients.get(connection_id)
        if client is not None:
            self.roster.remove(client)  # type: ignore[arg-type]
        return client is not None

    def send(
        self, connection_id: str, publication: Publication, receipt: Receipt, message_id: str | None = None
    ) -> None:
        client = self.clients.get(connection_id)
        if client is None:
            receipt.done(0, 0)
        elif client.queue_is_full:
            receipt.done(0, 1)
        else:
            client.taken.append((publication.event, value_of(publication), publication.sender))
            receipt.done(1, 0)

    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None:
        self.send(connection_id, Publication("", "raw", body), receipt)

    async def revoke(self, *, token_id: str | None, user: str | None, expires_at: float | None = None) -> None:
        if token_id is not None:
            self.revocations.revoke_token(token_id, expires_at)
        if user is not None:
            self.revocations.revoke_user(user)


class Process:
    """One process of the cluster."""

    def __init__(
        self, url: str, node_id: str | None = None, timeouts: RedisTimeouts = QUICK, rules: HistoryRules | None = None
    ) -> None:
        self.hub = HubOfCounts()
        self.roster = Roster()
        self.clients: dict[str, Client] = self.roster.clients  # type: ignore[assignment]
        self.revocations = Revocations()
        config = Config(redis_url=url)
        self.broker = RedisBroker(self.hub, config, node_id=node_id, timeouts=timeouts, rules=rules)
        self.cluster: RedisCluster = RedisCluster(
            self.broker,
            Local(self.roster, self.revocations),
            self.hub,  # type: ignore[arg-type]
            self.roster,
            self.revocations,
        )

    def connect(self, user: str, dialect: str = "channels") -> Client:
        client = Client(next(connection_ids(self.broker.node_id)), user, dialect)
        self.roster.add(client)  # type: ignore[arg-type]
        return client

    async def die(self) -> None:
        """As by SIGKILL: no goodbye."""
        task = self.cluster.registry._task
        if task is not None:
            task.cancel()
        self.cluster.registry._task = None
        await self.cluster.revocations.stop()
        await self.broker.stop()


class Refusal:
    """A receipt that keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def done(self, sent: int, failed: int) -> None:
        self.heard.append((sent, failed))

    def refused(self, error: FastWSError) -> None:
        self.heard.append(error)


@asynccontextmanager
async def processes(
    url: str, *node_ids: str, timeouts: RedisTimeouts = QUICK, rules: HistoryRules | None = None
) -> AsyncIterator[list[Process]]:
    """Running processes that know each other."""
    members = [Process(url, node_id, timeouts, rules) for node_id in node_ids]
    for member in members:
        await member.broker.start()
        await member.cluster.start()
    try:
        yield members
    finally:
        for member in members:
            await member.cluster.stop()
            await member.broker.stop()
