"""The cluster: all processes on one Redis answered for as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, Protocol, TypeVar

from fastws.access.revocation import Revocations
from fastws.brokers import envelope
from fastws.brokers.redis.broker import RedisBroker
from fastws.cluster.redis.message_ids import RedisMessageIds
from fastws.cluster.redis.nodes import RedisNodes
from fastws.cluster.redis.registry import RedisRegistry
from fastws.cluster.redis.revocations import RedisRevocations
from fastws.cluster.stats import LocalStats
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError, Gone
from fastws.hub.hub import Hub
from fastws.hub.ports import Receipt
from fastws.hub.roster import Roster
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH, node_of
from fastws.vocabulary.publication import Publication

Page = tuple[list[dict[str, object]], str | None]


class LocalCluster(Protocol):
    """This process alone, as cluster/one_process.py answers for it."""

    async def page(self, *, user: str | None, channel: str | None, cursor: str | None, limit: int) -> Page: ...
    async def describe(self, connection_id: str) -> dict[str, object] | None: ...
    async def close(self, connection_id: str) -> bool: ...
    def send(self, connection_id: str, publication: Publication, receipt: Receipt) -> None: ...
    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None: ...
    async def revoke(self, *, token_id: str | None, user: str | None) -> None: ...


T = TypeVar("T")


class RedisCluster(Generic[T]):
    """A Cluster (endpoints/application.py) of all processes. `totals_of` makes the totals of figures and names.

    Questions to other processes take one round trip and 2 s at most; a process that does not answer counts as
    gone. `start` and `stop` belong inside those of the broker.
    """

    def __init__(
        self,
        broker: RedisBroker,
        local: LocalCluster,
        hub: Hub,
        roster: Roster,
        revocations: Revocations,
        totals_of: Callable[[int, list[str]], T],
    ) -> None:
        self.nodes = RedisNodes(broker)
        self.registry = RedisRegistry(broker, self.nodes, LocalStats(hub, roster).count)
        self.revocations = RedisRevocations(broker, revocations, self._enforce)
        self.message_ids = RedisMessageIds(broker)
        self._broker = broker
        self._local = local
        self._hub = hub
        self._roster = roster
        self._revoked = revocations
        self._totals_of = totals_of
        self.nodes.handlers.update(
            page=self._answer_page,
            describe=self._answer_describe,
            close=self._answer_close,
            send=self._answer_send,
            send_raw=self._answer_send_raw,
        )

    async def start(self) -> None:
        """After the broker's own start."""
        await self.registry.start()

    async def stop(self) -> None:
        """Before the broker's own stop."""
        await self.registry.stop()
        await self.revocations.stop()

    async def totals(self) -> T:
        connections = len(self._roster) + self.registry.connections
        return self._totals_of(connections, sorted({*self._hub.channels, *self.registry.channels}))

    async def connections_of(self, user: str) -> int:
        here = sum(1 for client in self._roster if client.identity is not None and client.identity.user == user)
        return here + self.registry.users.get(user, 0)

    async def dialect_connections(self, dialect: str) -> int:
        here = sum(1 for client in self._roster if client.dialect_name == dialect)
        return here + self.registry.dialects.get(dialect, 0)

    async def page(self, *, user: str | None, channel: str | None, cursor: str | None, limit: int) -> Page:
        """Node by node in the order of their ids, which is that of the connections' ids."""
        found: list[dict[str, object]] = []
        for node in sorted((*self.registry.others, self._broker.node_id)):
            if cursor is not None and node < cursor[:NODE_ID_LENGTH]:
                continue
            # One more than is wanted tells whether there is a next page.
            connections, _ = await self._page_of(node, user, channel, cursor, limit + 1 - len(found))
            found += connections
            if len(found) > limit:
                return found[:limit], str(found[limit - 1]["id"])
        return found, None

    async def describe(self, connection_id: str) -> dict[str, object] | None:
        node = self._node_elsewhere(connection_id)
        if node is None:
            return await self._local.describe(connection_id)
        found = await self._ask(node, "describe", connection_id)
        return found if isinstance(found, dict) else None

    async def close(self, connection_id: str) -> bool:
        node = self._node_elsewhere(connection_id)
        if node is None:
            return await self._local.close(connection_id)
        return bool(await self._ask(node, "close", connection_id))

    def send(self, connection_id: str, publication: Publication, receipt: Receipt) -> None:
        """To one connection wherever it is: sent 1, failed 1 (its queue is full), or neither (it is gone)."""
        node = self._node_elsewhere(connection_id)
        if node is None:
            self._local.send(connection_id, publication, receipt)
            return
        try:
            letter = envelope.encode(publication)
        except FastWSError as error:
            receipt.refused(error)
            return
        self.nodes.request(node, "send", [connection_id, letter], partial(_settle, receipt))

    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None:
        node = self._node_elsewhere(connection_id)
        if node is None:
            self._local.send_raw(connection_id, body, receipt)
        else:
            self.nodes.request(node, "send_raw", [connection_id, body], partial(_settle, receipt))

    async def revoke(self, *, token_id: str | None, user: str | None) -> None:
        """Here at once; on the others and in Redis before this returns. Raises BrokerUnavailable."""
        await self._local.revoke(token_id=token_id, user=user)
        now = self._revoked.snapshot()
        wanted = {"tokens": token_id, "users": user}
        await self.revocations.tell(
            {table: {name: now[table][name]} for table, name in wanted.items() if name in now[table]}
        )

    async def reserve(self, message_id: str) -> Mapping[str, int] | None:
        """None: first of all processes. Raises BrokerUnavailable, Unavailable (the first try is still under way)."""
        return await self.message_ids.reserve(message_id)

    async def record_outcome(self, message_id: str, outcome: Mapping[str, int] | None) -> None:
        await self.message_ids.record_outcome(message_id, outcome)

    # --- asking and answering

    def _node_elsewhere(self, connection_id: str) -> str | None:
        """The node to ask; None where this one knows best, be it that there is no such connection."""
        node = node_of(connection_id)
        return None if node == self._broker.node_id else node

    async def _ask(self, node: str, kind: str, body: object) -> object:
        """The answer; None from a node that is gone."""
        try:
            return await self.nodes.ask(node, kind, body)
        except Gone:
            return None

    async def _page_of(self, node: str, user: str | None, channel: str | None, cursor: str | None, limit: int) -> Page:
        if node == self._broker.node_id:
            return await self._local.page(user=user, channel=channel, cursor=cursor, limit=limit)
        try:
            answer = await self._ask(node, "page", [user, channel, cursor, limit])
        except BrokerUnavailable:
            if not self._broker.is_up:
                raise
            return [], None
        return (answer, None) if isinstance(answer, list) else ([], None)

    async def _answer_page(self, body: object) -> object:
        user, channel, cursor, limit = _fields(body, 4)
        if not isinstance(limit, int) or not all(
            item is None or isinstance(item, str) for item in (user, channel, cursor)
        ):
            raise BadRequest("a page is asked for by user, channel, cursor and limit")
        connections, _ = await self._local.page(user=user, channel=channel, cursor=cursor, limit=limit)  # type: ignore[arg-type]
        return connections

    async def _answer_describe(self, body: object) -> object:
        return await self._local.describe(_text(body))

    async def _answer_close(self, body: object) -> object:
        return await self._local.close(_text(body))

    def _answer_send(self, body: object) -> object:
        connection_id, letter = _fields(body, 2)
        if not isinstance(letter, bytes):
            raise BadRequest("what is sent to a connection is an envelope")
        outcome = _Outcome()
        self._local.send(_text(connection_id), envelope.decode(letter, "").publication, outcome)
        return outcome.figures

    def _answer_send_raw(self, body: object) -> object:
        connection_id, raw = _fields(body, 2)
        if not isinstance(raw, bytes):
            raise BadRequest("what is sent as it is, is bytes")
        outcome = _Outcome()
        self._local.send_raw(_text(connection_id), raw, outcome)
        return outcome.figures

    def _enforce(self) -> None:
        """Send away who is connected with a token that no longer holds."""
        for client in list(self._roster):
            if client.identity is not None and self._revoked.is_revoked(client.identity):
                client.revoke()


class _Outcome:
    """A receipt whose figures travel back: [sent, failed]. A publication that cannot be said has failed."""

    def __init__(self) -> None:
        self.figures: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    def done(self, sent: int, failed: int) -> None:
        self.figures.set_result([sent, failed])

    def refused(self, error: FastWSError) -> None:
        self.figures.set_exception(error)


def _settle(receipt: Receipt, answer: object) -> None:
    if isinstance(answer, Gone):
        receipt.done(0, 0)
    elif isinstance(answer, FastWSError):
        receipt.refused(answer)
    elif isinstance(answer, list) and len(answer) == 2 and all(type(figure) is int for figure in answer):
        receipt.done(*answer)
    else:
        receipt.refused(BrokerUnavailable("the process that has this connection answered nonsense"))


def _fields(body: object, count: int) -> list[object]:
    if not isinstance(body, list) or len(body) != count:
        raise BadRequest(f"{count} fields are expected")
    return body


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest("a connection id is text")
    return value
