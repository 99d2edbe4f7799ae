"""The cluster of all processes on one Redis."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

from fastws.access.revocation import Revocations
from fastws.brokers import envelope
from fastws.brokers.redis.broker import RedisBroker
from fastws.cluster.app_subscribers import AppSubscribers
from fastws.cluster.channel_list import ChannelList, list_channels
from fastws.cluster.port import Outcome, Publish, Totals
from fastws.cluster.presence import LocalPresence
from fastws.cluster.redis.message_ids import RedisMessageIds
from fastws.cluster.redis.nodes import RedisNodes
from fastws.cluster.redis.presence import RedisPresence
from fastws.cluster.redis.registry import RedisRegistry
from fastws.cluster.redis.revocations import RedisRevocations
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError, Gone
from fastws.hub.hub import Hub
from fastws.hub.ports import Receipt
from fastws.hub.roster import Roster
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH, node_of
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication

Page = tuple[list[dict[str, object]], str | None]


class _PageWanted(NamedTuple):
    """The arguments of `page`, as one node sends them to another."""

    user: str | None
    channel: str | None
    cursor: str | None
    limit: int
    client_id: str | None = None


class LocalCluster(Protocol):
    """The part of the cluster in this process: cluster/one_process.py."""

    async def page(
        self, *, user: str | None, channel: str | None, cursor: str | None, limit: int, client_id: str | None = None
    ) -> Page: ...
    async def describe(self, connection_id: str) -> dict[str, object] | None: ...
    async def close(self, connection_id: str) -> bool: ...
    def send(self, connection_id: str, publication: Publication, receipt: Receipt) -> None: ...
    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None: ...
    async def revoke(self, *, token_id: str | None, user: str | None, expires_at: float | None = None) -> None: ...
    def enforce(self, change: Mapping[str, Mapping[str, float]]) -> None: ...
    async def disconnect(self, realm: str, user: str) -> None: ...
    async def realm_connections(self, realm: str) -> int: ...
    def app_subscribers(self, channel: str) -> int: ...
    def disconnect_here(self, realm: str, user: str) -> None: ...


class RedisCluster:
    """A Cluster of all processes on one Redis.

    A request to another process takes one round trip, and 2 s at most. Call `start` after the start of the broker and
    `stop` before its stop.
    """

    def __init__(
        self,
        broker: RedisBroker,
        local: LocalCluster,
        hub: Hub,
        roster: Roster,
        revocations: Revocations,
        presences: Iterable[LocalPresence] = (),
        *,
        find_node: Callable[[str], str | None] = node_of,
        apps: AppSubscribers | None = None,
    ) -> None:
        """`apps` counts the subscribers of this process that are clients of an app; None without apps.

        `find_node` returns the node in a connection id. If it is not `node_of`, ids are in no order by node."""
        self.nodes = RedisNodes(broker)
        self.registry = RedisRegistry(broker, self.nodes, hub, roster, apps)
        self.revocations = RedisRevocations(broker, revocations, local.enforce)
        self.message_ids = RedisMessageIds(broker)
        self.presences = [RedisPresence(broker, self.nodes, self.registry, presence) for presence in presences]
        self._find_node = find_node
        self._broker = broker
        self._local = local
        self._hub = hub
        self._roster = roster
        self._revoked = revocations
        self._handle_requests()

    def _handle_requests(self) -> None:
        """Handle the requests of other nodes."""
        self.nodes.handlers.update(
            page=self._answer_page,
            describe=self._answer_describe,
            close=self._answer_close,
            send=self._answer_send,
            send_raw=self._answer_send_raw,
            realm=self._answer_realm,
        )
        self.nodes.notices["disconnect"] = self._disconnect

    async def start(self) -> None:
        await self.registry.start()
        for presence in self.presences:
            await presence.start()
        await self.revocations.start()

    async def stop(self) -> None:
        for presence in self.presences:
            await presence.stop()
        await self.registry.stop()
        await self.revocations.stop()

    def realm_connections_elsewhere(self, dialect: str, realm: str) -> int:
        """Return the number of connections of a dialect's realm on all other nodes, as of their last message."""
        return self.registry.dialects.get(f"{dialect}/{realm}", 0)

    async def totals(self) -> Totals:
        connections = len(self._roster) + self.registry.connections
        return Totals(connections, self.registry.channel_count)

    async def channels(self, is_wanted: Callable[[str], bool], limit: int) -> ChannelList:
        local = self._hub.channels
        here = await list_channels(local, is_wanted, limit)
        others = await list_channels(self.registry.channels, lambda name: name not in local and is_wanted(name), limit)
        # A set, because a channel may have lost its last subscriber here between the two.
        names = heapq.nsmallest(limit, {*here.names, *others.names})
        return ChannelList(names, here.total + others.total)

    def subscribers(self, channel: str) -> int:
        return self._hub.count(channel) + self.registry.remote_count(channel)

    def app_subscribers(self, channel: str) -> int:
        return self._local.app_subscribers(channel) + self.registry.remote_app_count(channel)

    async def connections_of(self, user: str) -> int:
        return self._roster.by_user.count(user) + self.registry.users.get(user, 0)

    async def dialect_connections(self, dialect: str) -> int:
        return self._roster.dialects().get(dialect, 0) + self.registry.dialects.get(dialect, 0)

    async def page(
        self, *, user: str | None, channel: str | None, cursor: str | None, limit: int, client_id: str | None = None
    ) -> Page:
        """Ask node after node by id: connection ids start with the node id, so they are in the same order."""
        if self._find_node is not node_of:
            return await self._merged_page(_PageWanted(user, channel, cursor, limit + 1, client_id))
        found: list[dict[str, object]] = []
        for node in sorted((*self.registry.others, self._broker.node_id)):
            if cursor is not None and node < cursor[:NODE_ID_LENGTH]:
                continue
            # One more than needed shows whether there is a next page.
            wanted = _PageWanted(user, channel, cursor, limit + 1 - len(found), client_id)
            connections, _ = await self._page_of(node, wanted)
            found += connections
            if len(found) > limit:
                return found[:limit], str(found[limit - 1]["id"])
        return found, None

    async def _merged_page(self, wanted: _PageWanted) -> Page:
        """Ask all nodes, because the ids of one may come between those of another."""
        nodes = (*self.registry.others, self._broker.node_id)
        pages = await asyncio.gather(*(self._page_of(node, wanted) for node in nodes))
        limit = wanted.limit - 1
        found = heapq.nsmallest(
            wanted.limit, (each for page, _ in pages for each in page), key=lambda each: str(each["id"])
        )
        return found[:limit], (str(found[limit - 1]["id"]) if len(found) > limit else None)

    async def describe(self, connection_id: str) -> dict[str, object] | None:
        node = self._other_node_of(connection_id)
        if node is None:
            return await self._local.describe(connection_id)
        found = await self._ask(node, "describe", connection_id)
        return found if isinstance(found, dict) else None

    async def close(self, connection_id: str) -> bool:
        node = self._other_node_of(connection_id)
        if node is None:
            return await self._local.close(connection_id)
        return bool(await self._ask(node, "close", connection_id))

    async def realm_connections(self, realm: str) -> int:
        others = await asyncio.gather(*(self._ask(node, "realm", realm) for node in self.registry.others))
        here = await self._local.realm_connections(realm)
        return here + sum(count for count in others if isinstance(count, int))

    def send(
        self, connection_id: str, publication: Publication, receipt: Receipt, message_id: str | None = None
    ) -> None:
        node = self._other_node_of(connection_id) if message_id is None else self._find_node(connection_id)
        if node is None:
            self._local.send(connection_id, publication, receipt)
            return
        try:
            encoded = envelope.encode(publication)
        except FastWSError as error:
            receipt.refused(error)
            return
        answered = partial(_resolve, receipt)
        self.nodes.request(node, "send", [connection_id, encoded], answered, message_id=message_id)

    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None:
        node = self._other_node_of(connection_id)
        if node is None:
            self._local.send_raw(connection_id, body, receipt)
        else:
            self.nodes.request(node, "send_raw", [connection_id, body], partial(_resolve, receipt))

    async def revoke(self, *, token_id: str | None, user: str | None, expires_at: float | None = None) -> None:
        """Revoke here at once, and in Redis and on other processes before this returns. Raises BrokerUnavailable."""
        await self._local.revoke(token_id=token_id, user=user, expires_at=expires_at)
        tokens, users = (() if name is None else (name,) for name in (token_id, user))
        await self.revocations.publish(self._revoked.of(tokens=tokens, users=users))

    async def disconnect(self, realm: str, user: str) -> None:
        """Raises BrokerUnavailable, after closing those of this process."""
        await self._local.disconnect(realm, user)
        if not self._broker.is_up:
            raise BrokerUnavailable("Redis is unavailable: connections on other processes were not closed")
        for node in self.registry.others:
            self.nodes.notify(node, "disconnect", [realm, user])

    def _disconnect(self, body: object) -> None:
        realm, user = (_text(field) for field in _fields(body, 2))
        self._local.disconnect_here(realm, user)

    async def once(self, message_id: str, channel: str | None, connection_id: str | None, publish: Publish) -> Outcome:
        names = self._broker.names
        if channel is not None:
            return await self.message_ids.once(message_id, names.live(channel), channel, publish)
        node = self._find_node(connection_id or "")
        if node is None:
            return await publish(message_id)
        return await self.message_ids.once(message_id, names.node(node), None, publish)

    # --- requests to and from other nodes

    def _other_node_of(self, connection_id: str) -> str | None:
        """Return the other node that the connection id names, None if it names this one or no node."""
        node = self._find_node(connection_id)
        return None if node == self._broker.node_id else node

    async def _ask(self, node: str, kind: str, body: object) -> object:
        """Return the answer of `node`, None if it is gone."""
        try:
            return await self.nodes.ask(node, kind, body)
        except Gone:
            return None

    async def _page_of(self, node: str, wanted: _PageWanted) -> Page:
        if node == self._broker.node_id:
            return await self._local.page(**wanted._asdict())
        try:
            # Without a client id, as nodes of version 0.1 expect it.
            answer = await self._ask(node, "page", list(wanted if wanted.client_id is not None else wanted[:4]))
        except BrokerUnavailable:
            if not self._broker.is_up:
                raise
            return [], None
        return (answer, None) if isinstance(answer, list) else ([], None)

    async def _answer_page(self, body: object) -> object:
        count = 5 if isinstance(body, list) and len(body) == 5 else 4
        user, channel, cursor, limit, *rest = _fields(body, count)
        texts = (user, channel, cursor, *rest)
        if not isinstance(limit, int) or not all(item is None or isinstance(item, str) for item in texts):
            raise BadRequest("page: must be a list of user, channel, cursor and limit, perhaps with a client id")
        wanted = _PageWanted(user, channel, cursor, limit, *rest)  # type: ignore[arg-type] # checked above
        connections, _ = await self._local.page(**wanted._asdict())
        return connections

    async def _answer_describe(self, body: object) -> object:
        return await self._local.describe(_text(body))

    async def _answer_close(self, body: object) -> object:
        return await self._local.close(_text(body))

    async def _answer_realm(self, body: object) -> object:
        return await self._local.realm_connections(_text(body))

    def _answer_send(self, body: object) -> object:
        connection_id, encoded = _fields(body, 2)
        if not isinstance(encoded, bytes):
            raise BadRequest("send: the publication must be an envelope")
        outcome = _Outcome()
        self._local.send(_text(connection_id), envelope.decode(encoded, "").publication, outcome)
        return outcome.counts

    def _answer_send_raw(self, body: object) -> object:
        connection_id, raw = _fields(body, 2)
        if not isinstance(raw, bytes):
            raise BadRequest("send_raw: the body must be bytes")
        outcome = _Outcome()
        self._local.send_raw(_text(connection_id), raw, outcome)
        return outcome.counts


class _Outcome:
    """A receipt for a request of another node. `counts` becomes [sent, failed], or raises the error of a refusal."""

    def __init__(self) -> None:
        self.counts: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    def kept(self, position: Position) -> None:
        """Does nothing: a message to one connection is not kept."""

    def done(self, sent: int, failed: int) -> None:
        self.counts.set_result([sent, failed])

    def refused(self, error: FastWSError) -> None:
        self.counts.set_exception(error)


def _resolve(receipt: Receipt, answer: object) -> None:
    if isinstance(answer, Gone):
        receipt.done(0, 0)
    elif isinstance(answer, FastWSError):
        receipt.refused(answer)
    elif isinstance(answer, list) and len(answer) == 2 and all(type(count) is int for count in answer):
        receipt.done(*answer)
    else:
        receipt.refused(BrokerUnavailable("the process of this connection sent an invalid answer"))


def _fields(body: object, count: int) -> list[object]:
    if not isinstance(body, list) or len(body) != count:
        raise BadRequest(f"must be a list of {count} fields")
    return body


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest("a connection id must be a string")
    return value
