"""The registry: publishes the statistics of this node and collects those of the other nodes.

Every second (`heartbeat_seconds`) each node publishes on `fastws:nodes` what has changed in its statistics since its
last message. A node that has missed a message requests all of them. A node that is silent for `node_expiry_seconds` is
removed. Nothing is stored in Redis, so nothing is lost when Redis restarts empty.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice
from typing import Final

import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.cluster.redis.nodes import RedisNodes
from fastws.cluster.stats import NodeStats
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, BrokerUnavailable
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH

# Entries in one message: about 400 KB, far below the size at which Redis disconnects a subscriber.
PART: Final = 10_000
_TABLES: Final = ("dialects", "users", "channels")

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
    """The statistics of all other nodes, at most 2 s old. `collect` returns those of this node."""

    def __init__(self, broker: RedisBroker, nodes: RedisNodes, collect: Callable[[], Awaitable[NodeStats]]) -> None:
        # Sums over all other nodes.
        self.dialects: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        self._broker = broker
        self._nodes = nodes
        self._collect = collect
        self._others: dict[str, _Node] = {}
        # As of the last message: what other nodes know if they have missed none.
        self._sent = NodeStats()
        self._seq = 0
        self._publish_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._channel = broker.names.service("nodes")
        # Nodes of other versions use these names during a rolling update.
        nodes.notices["figures?"] = self._send_all
        nodes.notices["figures"] = self._receive_part
        broker.serve(self._channel, self._receive, self._publish_now.set)
        broker.remote_count = self.remote_count

    @property
    def others(self) -> list[str]:
        """The ids of the other nodes, sorted."""
        return sorted(self._others)

    @property
    def connections(self) -> int:
        """Number of connections of all other nodes."""
        return sum(self.dialects.values())

    def remote_count(self, channel: str) -> int:
        """Return the number of subscribers of `channel` on all other nodes."""
        return self.channels.get(channel, 0)

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
                await self._broker.commander.call(b"PUBLISH", self._channel, goodbye)

    async def _run(self) -> None:
        timeouts = self._broker.timeouts
        while True:
            self._publish_now.clear()
            try:
                self._publish_changes(await self._collect())
                self._remove_silent(asyncio.get_running_loop().time() - timeouts.node_expiry_seconds)
            except Exception:  # noqa: BLE001 one failure must not silence this node for ever
                _log.exception("bug while publishing node statistics")
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the event.
                async with asyncio.timeout(timeouts.heartbeat_seconds):
                    await self._publish_now.wait()

    # --- sending

    def _publish_changes(self, now: NodeStats) -> None:
        """Publish the changes since the last message; if there are none, a message with the node id only."""
        changes = NodeStats(*(_changes(getattr(self._sent, table), getattr(now, table)) for table in _TABLES))
        for part in _parts(changes):
            self._seq += 1
            message = {"node": self._broker.node_id, "seq": self._seq, **part}
            self._broker.commander.publish(self._channel, MSGPACK.dumps(message), self._published)
        self._sent = now

    def _published(self, reply: object) -> None:
        """Only log: a lost message leaves a gap in the numbers, and the other nodes request all statistics."""
        self._broker.commander.log_refusal("PUBLISH", reply)

    def _send_all(self, asker: object) -> None:
        """Send all statistics as of the last message, in parts. They arrive before the next message."""
        if not isinstance(asker, str):
            raise BadRequest("node statistics: the asker must be a node id")
        parts = list(_parts(self._sent))
        for position, part in enumerate(parts):
            frame = {"node": self._broker.node_id, "seq": self._seq, "part": position, "parts": len(parts)}
            self._nodes.notify(asker, "figures", {**frame, **part})

    # --- receiving

    def _receive(self, payload: bytes) -> None:
        message, node_id, seq = _checked(MSGPACK.loads(payload))
        if node_id == self._broker.node_id:
            return
        if message.get("bye"):
            self._remove(node_id)
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
            total: dict[str, int] = getattr(self, table)
            for name, count in _table(message.get(table)).items():
                _add(total, name, count - known.get(name, 0))
                if count:
                    known[name] = count
                else:
                    known.pop(name, None)

    def _subtract(self, node: _Node) -> None:
        for table in _TABLES:
            total: dict[str, int] = getattr(self, table)
            for name, count in getattr(node.stats, table).items():
                _add(total, name, -count)
        node.stats = NodeStats()

    def _remove(self, node_id: str) -> None:
        node = self._others.pop(node_id, None)
        if node is not None:
            self._subtract(node)

    def _remove_silent(self, since: float) -> None:
        for node_id, node in list(self._others.items()):
            if node.received_at < since:
                _log.warning("node lost: no heartbeat", node=node_id)
                self._remove(node_id)


def _changes(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return the new counts of all names that differ; 0 for removed ones."""
    changed = {name: count for name, count in now.items() if before.get(name) != count}
    changed.update((name, 0) for name in before if name not in now)
    return changed


def _parts(stats: NodeStats) -> Iterator[dict[str, dict[str, int]]]:
    """Split `stats` into messages of at most PART users and PART channels. Yields one message if there are none."""
    users, channels = iter(stats.users.items()), iter(stats.channels.items())
    dialects = stats.dialects
    while True:
        part = {
            "dialects": dialects,
            "users": dict(islice(users, PART)),
            "channels": dict(islice(channels, PART)),
        }
        if dialects is not stats.dialects and not part["users"] and not part["channels"]:
            return
        yield {table: counts for table, counts in part.items() if counts}
        dialects = {}


def _add(total: dict[str, int], name: str, count: int) -> None:
    now = total.get(name, 0) + count
    if now > 0:
        total[name] = now
    else:
        total.pop(name, None)


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
