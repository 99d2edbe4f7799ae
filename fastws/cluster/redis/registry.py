"""The registry: publishes the statistics of this node and collects those of the other nodes.

Each node publishes on `fastws:nodes` what has changed in its statistics since its last message: at once, gathered over
GATHER_SECONDS at most; and every second (`heartbeat_seconds`) if nothing has changed. A node that has missed a message
requests all of them. A node that is silent for `node_expiry_seconds` is removed. Nothing is stored in Redis, so nothing
is lost when Redis restarts empty.

The cost depends on what changes, not on what there is. Large tables are sent, received and removed in parts, between
which the loop looks at its sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.cluster.app_subscribers import AppSubscribers
from fastws.cluster.redis.nodes import RedisNodes
from fastws.cluster.redis.server_list import ServerListCheck
from fastws.cluster.stats import LocalChanges, NodeStats
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, BrokerUnavailable
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH

# Entries of a table in one message: about 80 KB, and one or two milliseconds to send or receive.
PART: Final = 2_000
# Least time between two messages.
GATHER_SECONDS: Final = 0.05
_TABLES: Final = ("dialects", "users", "channels", "other_dialects")

_log = structlog.get_logger("fastws.redis")


class _Node:
    """Another node. `seq` is the number of the last message that is contained in `stats`.

    While an answer arrives in parts, all with the same `seq`, `next_part` is the next part expected.
    """

    __slots__ = ("asked_at", "is_complete", "next_part", "received_at", "seq", "stats")

    def __init__(self, received_at: float) -> None:
        self.stats = NodeStats()
        self.received_at = received_at
        self.asked_at = float("-inf")
        self.is_complete = False
        self.next_part = 0
        self.seq = 0


class RedisRegistry:
    """The statistics of all other nodes: as a rule 0.1 s old, at most 2 s. Publishes those of this node.

    `dialects`, `users`, `channels` and `other_dialects` are sums over all other nodes, see NodeStats.
    """

    def __init__(
        self, broker: RedisBroker, nodes: RedisNodes, hub: Hub, roster: Roster, apps: AppSubscribers | None = None
    ) -> None:
        self.dialects: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        self.other_dialects: dict[str, int] = {}
        # Called with each channel whose subscribers elsewhere have changed.
        self.count_changed: Callable[[str], None] | None = None
        self._broker, self._nodes = broker, nodes
        self._others: dict[str, _Node] = {}
        # As of the last message: what other nodes know if they have missed none.
        self._sent = NodeStats()
        self._seq = 0
        # Number of channels that both `channels` and `_sent` contain.
        self._shared = 0
        # Nodes that have requested all statistics, and statistics that are still in the sums and must be subtracted.
        self._askers: set[str] = set()
        self._discarded: list[NodeStats] = []
        self._wake = asyncio.Event()
        self._changes = LocalChanges(hub, roster, self._wake.set, None if apps is None else apps.others)
        self._task: asyncio.Task[None] | None = None
        self._channel = broker.names.service("nodes")
        self._list = ServerListCheck(broker, self._channel)
        # Since when this node has received the messages of the other nodes.
        self._listening_since = float("inf")
        nodes.is_known = self._others.__contains__
        nodes.notices.update({"figures?": self._asked, "figures": self._receive_part})
        broker.serve(self._channel, self._receive, self._subscribed)
        broker.remote_count = self.remote_count

    @property
    def others(self) -> list[str]:
        """The ids of the other nodes, sorted."""
        return sorted(self._others)

    @property
    def connections(self) -> int:
        """Number of connections of all other nodes."""
        return sum(self.dialects.values())

    @property
    def channel_count(self) -> int:
        """Number of channels with subscribers on any node, this one included."""
        count = len(self._sent.channels) + len(self.channels) - self._shared
        # What has changed here since the last message: what happens in 50 ms.
        for name in self._changes.channels:
            if name not in self.channels:
                count += self._changes.is_subscribed(name) - (name in self._sent.channels)
        return count

    def is_alive(self, node_id: str) -> bool:
        """Whether this node may be alive. False only if its message would have arrived in `node_expiry_seconds`."""
        if node_id in self._others or node_id == self._broker.node_id or not self._broker.is_served(self._channel):
            return True
        listened_seconds = asyncio.get_running_loop().time() - self._listening_since
        return listened_seconds < self._broker.timeouts.node_expiry_seconds

    def remote_count(self, channel: str) -> int:
        """Return the number of subscribers of `channel` on all other nodes."""
        return self.channels.get(channel, 0)

    def remote_app_count(self, channel: str) -> int:
        """Return the number of those of them that are clients of the app of the channel."""
        return max(self.channels.get(channel, 0) - self.other_dialects.get(channel, 0), 0)

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Publish that this node leaves, so that others remove it at once. Stop the broker after this."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._broker.commander.is_up:
            goodbye = MSGPACK.dumps({"node": self._broker.node_id, "seq": 0, "bye": True})
            with contextlib.suppress(BrokerUnavailable):
                await self._broker.commander.call_publish(self._channel, goodbye)

    async def _run(self) -> None:
        timeouts, loop = self._broker.timeouts, asyncio.get_running_loop()
        while True:
            self._wake.clear()
            published_at = loop.time()
            try:
                await self._publish_changes()
                self._list.announce()
                await self._answer_askers()
                await self._subtract_discarded()
                self._remove_silent(loop.time() - timeouts.node_expiry_seconds)
            except Exception:  # noqa: BLE001 one failure must not silence this node for ever
                _log.exception("bug while publishing node statistics")
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the event.
                async with asyncio.timeout(timeouts.heartbeat_seconds):
                    await self._wake.wait()
            await asyncio.sleep(max(0.0, published_at + GATHER_SECONDS - loop.time()))

    # --- sending

    async def _publish_changes(self) -> None:
        """Publish the changes since the last message; if there are none, a message with the node id only."""
        while True:
            part = self._changes.take(self._sent, PART)
            tables = {table: counts for table in _TABLES if (counts := getattr(part, table))}
            for table, counts in tables.items():
                self._record(table, counts)
            self._seq += 1
            message = {"node": self._broker.node_id, "seq": self._seq, **tables}
            if self._list.fingerprint:
                message["servers"] = self._list.fingerprint
            self._broker.commander.publish(self._channel, MSGPACK.dumps(message), self._published)
            if not self._changes.channels and not self._changes.users:
                return
            await asyncio.sleep(0)

    def _published(self, reply: object) -> None:
        """Only log: a lost message leaves a gap in the numbers, and the other nodes request all statistics."""
        self._broker.commander.log_refusal("PUBLISH", reply)

    def _record(self, table: str, counts: Mapping[str, int]) -> None:
        """Remember `counts` of this node as sent."""
        sent: dict[str, int] = getattr(self._sent, table)
        for name, count in counts.items():
            if table == "channels" and name in self.channels and (name in sent) is not (count > 0):
                self._shared += 1 if count else -1
            if count:
                sent[name] = count
            else:
                del sent[name]

    def _asked(self, asker: object) -> None:
        if not isinstance(asker, str) or len(asker) != NODE_ID_LENGTH:
            raise BadRequest("node statistics: the asker must be a node id")
        self._askers.add(asker)
        self._wake.set()

    async def _answer_askers(self) -> None:
        """Send all statistics as of the last message, in parts. They arrive before the next message."""
        count = max(1, *(-(-len(table) // PART) for table in (self._sent.users, self._sent.channels)))
        while self._askers:
            asker = self._askers.pop()
            for position, part in enumerate(_parts(self._sent)):
                frame = {"node": self._broker.node_id, "seq": self._seq, "part": position, "parts": count}
                self._nodes.notify(asker, "figures", {**frame, **part})
                await asyncio.sleep(0)

    # --- receiving

    def _subscribed(self) -> None:
        self._listening_since = asyncio.get_running_loop().time()
        self._wake.set()

    def _receive(self, payload: bytes) -> None:
        message, node_id, seq = _checked(MSGPACK.loads(payload))
        if node_id == self._broker.node_id:
            return
        if message.get("bye"):
            self._remove(node_id)
            return
        if not self._list.check(message):
            return
        now = asyncio.get_running_loop().time()
        node = self._others.get(node_id)
        if node is None:
            node = self._others[node_id] = _Node(now)
        node.received_at = now
        if node.is_complete and seq == node.seq + 1:
            node.seq = seq
            self._apply(node, message)
            return
        node.is_complete = False
        if now - node.asked_at >= self._broker.timeouts.heartbeat_seconds:
            node.asked_at = now
            self._nodes.notify(node_id, "figures?", self._broker.node_id)

    def _receive_part(self, body: object) -> None:
        """Add one part of the statistics of another node. If a part is missing, they are requested again."""
        message, node_id, seq = _checked(body)
        node = self._others.get(node_id)
        if node is None:
            return
        part = message.get("part")
        if part == 0:
            self._subtract(node)
            node.next_part = 0
        elif part != node.next_part or seq != node.seq:
            node.is_complete = False
            node.next_part = 0
            return
        self._apply(node, message)
        node.seq = seq
        node.next_part += 1
        node.is_complete = node.next_part == message.get("parts")

    def _apply(self, node: _Node, message: Mapping[str, object]) -> None:
        for table in _TABLES:
            known: dict[str, int] = getattr(node.stats, table)
            for name, count in _table(message.get(table)).items():
                self._add(table, name, count - known.get(name, 0))
                if count:
                    known[name] = count
                else:
                    known.pop(name, None)

    def _add(self, table: str, name: str, change: int) -> None:
        total: dict[str, int] = getattr(self, table)
        before = total.get(name, 0)
        now = before + change
        if now > 0:
            total[name] = now
        else:
            total.pop(name, None)
        if self.count_changed is not None and table in ("channels", "other_dialects"):
            self.count_changed(name)
        if table == "channels" and (before > 0) is not (now > 0) and name in self._sent.channels:
            self._shared += 1 if now > 0 else -1

    def _subtract(self, node: _Node) -> None:
        """Take the statistics of `node` out of the sums: at once, or large ones in the background."""
        stats, node.stats = node.stats, NodeStats()
        if not self._subtract_some(stats):
            self._discarded.append(stats)
            self._wake.set()

    async def _subtract_discarded(self) -> None:
        while self._discarded:
            await asyncio.sleep(0)
            if self._subtract_some(self._discarded[-1]):
                self._discarded.pop()

    def _subtract_some(self, stats: NodeStats) -> bool:
        """Subtract up to PART entries of each table of `stats`, and remove them there. Returns whether it is empty."""
        for table in _TABLES:
            counts: dict[str, int] = getattr(stats, table)
            for _ in range(min(PART, len(counts))):
                # From the end: at the start of a dict, each removal would make the next one slower.
                name, count = counts.popitem()
                self._add(table, name, -count)
        return not (stats.dialects or stats.users or stats.channels or stats.other_dialects)

    def _remove(self, node_id: str) -> None:
        node = self._others.pop(node_id, None)
        if node is not None:
            self._subtract(node)

    def _remove_silent(self, since: float) -> None:
        for node_id, node in list(self._others.items()):
            if node.received_at < since:
                _log.warning("node lost: no heartbeat", node=node_id)
                self._remove(node_id)


def _parts(stats: NodeStats) -> Iterator[dict[str, dict[str, int]]]:
    """Split `stats` into messages of at most PART users and PART channels. Yields one message if there are none."""
    users, channels, others = (
        iter(stats.users.items()),
        iter(stats.channels.items()),
        iter(stats.other_dialects.items()),
    )
    dialects = stats.dialects
    while True:
        part = {
            "dialects": dialects,
            "users": dict(islice(users, PART)),
            "channels": dict(islice(channels, PART)),
            "other_dialects": dict(islice(others, PART)),
        }
        if dialects is not stats.dialects and not (part["users"] or part["channels"] or part["other_dialects"]):
            return
        yield {table: counts for table, counts in part.items() if counts}
        dialects = {}


def _checked(value: object) -> tuple[dict[str, object], str, int]:
    """Return a message with its node id and number. Raises BadRequest: any Redis client may publish there."""
    if not isinstance(value, dict):
        raise BadRequest("node statistics: must be a map")
    node_id, seq = value.get("node"), value.get("seq")
    if not isinstance(node_id, str) or len(node_id) != NODE_ID_LENGTH or not isinstance(seq, int):
        raise BadRequest("node statistics: must contain a node id and a number")
    return value, node_id, seq


def _table(value: object) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(type(count) is int and count >= 0 for count in value.values()):
        raise BadRequest("node statistics: each table must be a map of names to counts")
    return value
