"""The registry: what every process tells the others about itself, and what this one knows of them.

Once a second (`heartbeat_seconds`) each node publishes on `fastws:nodes` what has changed in its figures since its
last message; who missed one asks for all of them. A node silent for `node_expiry_seconds` is forgotten.
Nothing is kept in Redis, so a Redis restarted empty costs nothing here.
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
from fastws.cluster.stats import Figures
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, BrokerUnavailable
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH

# Entries in one message: some 400 KB, far below what Redis would cut a subscriber off for.
PART: Final = 10_000
_TABLES: Final = ("dialects", "users", "channels")

_log = structlog.get_logger("fastws.redis")


class _Node:
    """Another process as this one knows it. `seq` is the number of the last message that `figures` contain."""

    __slots__ = ("asked_at", "figures", "heard_at", "is_complete", "seq")

    def __init__(self, heard_at: float) -> None:
        self.figures = Figures()
        self.heard_at = heard_at
        self.asked_at = float("-inf")
        self.is_complete = False
        self.seq = 0


class RedisRegistry:
    """Figures of the other processes, at most 2 s old. `count` gives those of this one."""

    def __init__(self, broker: RedisBroker, nodes: RedisNodes, count: Callable[[], Awaitable[Figures]]) -> None:
        # Sums over all other nodes.
        self.dialects: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        self._broker = broker
        self._nodes = nodes
        self._count = count
        self._others: dict[str, _Node] = {}
        self._told = Figures()
        self._seq = 0
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._channel = broker.names.service("nodes")
        nodes.notices["figures?"] = self._tell_all
        nodes.notices["figures"] = self._take_part
        broker.serve(self._channel, self._hear, self._hurry.set)
        broker.remote_count = self.remote_count

    @property
    def others(self) -> list[str]:
        """The ids of the other nodes, sorted."""
        return sorted(self._others)

    @property
    def connections(self) -> int:
        """Connections of all other nodes."""
        return sum(self.dialects.values())

    def remote_count(self, channel: str) -> int:
        """Subscribers of `channel` on all other nodes."""
        return self.channels.get(channel, 0)

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Say goodbye, so that the others need not wait for the silence. The broker is stopped after this."""
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
            self._hurry.clear()
            try:
                self._tell_changes(await self._count())
                self._forget_silent(asyncio.get_running_loop().time() - timeouts.node_expiry_seconds)
            except Exception:  # noqa: BLE001 one bad count must not silence this node for ever
                _log.exception("the figures of this process could not be told")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), timeouts.heartbeat_seconds)

    # --- saying

    def _tell_changes(self, now: Figures) -> None:
        """Publish what differs from what was told before; nothing but our name where nothing does."""
        changes = Figures(*(_changes(getattr(self._told, table), getattr(now, table)) for table in _TABLES))
        for part in _parts(changes):
            self._seq += 1
            message = {"node": self._broker.node_id, "seq": self._seq, **part}
            self._broker.commander.publish(self._channel, MSGPACK.dumps(message), _nothing)
        self._told = now

    def _tell_all(self, asker: object) -> None:
        """Everything that was told up to now, in parts; Redis keeps them before whatever is told next."""
        if not isinstance(asker, str):
            raise BadRequest("figures are asked for by a node's id")
        parts = list(_parts(self._told))
        for position, part in enumerate(parts):
            frame = {"node": self._broker.node_id, "seq": self._seq, "first": position == 0}
            self._nodes.tell(asker, "figures", {**frame, "last": position == len(parts) - 1, **part})

    # --- hearing

    def _hear(self, payload: bytes) -> None:
        message, node_id, seq = _checked(MSGPACK.loads(payload))
        if node_id == self._broker.node_id:
            return
        if message.get("bye"):
            self._forget(node_id)
            return
        now = asyncio.get_running_loop().time()
        node = self._others.get(node_id)
        if node is None:
            node = self._others[node_id] = _Node(now)
        node.heard_at = now
        if node.is_complete and seq == node.seq + 1:
            node.seq = seq
            self._apply(node, message)
            return
        node.is_complete = False
        if now - node.asked_at >= self._broker.timeouts.heartbeat_seconds:
            node.asked_at = now
            self._nodes.tell(node_id, "figures?", self._broker.node_id)

    def _take_part(self, body: object) -> None:
        message, node_id, seq = _checked(body)
        node = self._others.get(node_id)
        if node is None:
            return
        if message.get("first"):
            self._subtract(node)
        self._apply(node, message)
        node.seq = seq
        node.is_complete = bool(message.get("last"))

    def _apply(self, node: _Node, message: Mapping[str, object]) -> None:
        for table in _TABLES:
            known: dict[str, int] = getattr(node.figures, table)
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
            for name, count in getattr(node.figures, table).items():
                _add(total, name, -count)
        node.figures = Figures()

    def _forget(self, node_id: str) -> None:
        node = self._others.pop(node_id, None)
        if node is not None:
            self._subtract(node)

    def _forget_silent(self, since: float) -> None:
        for node_id, node in list(self._others.items()):
            if node.heard_at < since:
                _log.warning("a process has gone silent and is forgotten", node=node_id)
                self._forget(node_id)


def _changes(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """New counts of what differs; 0 for what is gone."""
    changed = {name: count for name, count in now.items() if before.get(name) != count}
    changed.update((name, 0) for name in before if name not in now)
    return changed


def _parts(figures: Figures) -> Iterator[dict[str, dict[str, int]]]:
    """`figures` as messages of at most PART channels and users each; one, if empty, of no figures."""
    users, channels = iter(figures.users.items()), iter(figures.channels.items())
    dialects = figures.dialects
    while True:
        part = {
            "dialects": dialects,
            "users": dict(islice(users, PART)),
            "channels": dict(islice(channels, PART)),
        }
        if dialects is not figures.dialects and not part["users"] and not part["channels"]:
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
    """A message with its node and number. Raises BadRequest: anybody may publish on these channels."""
    if not isinstance(value, dict):
        raise BadRequest("figures of a node are a map")
    node_id, seq = value.get("node"), value.get("seq")
    if not isinstance(node_id, str) or len(node_id) != NODE_ID_LENGTH or not isinstance(seq, int):
        raise BadRequest("figures of a node carry its id and their number")
    return value, node_id, seq


def _table(value: object) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(type(count) is int and count >= 0 for count in value.values()):
        raise BadRequest("figures of a node are counts by name")
    return value


def _nothing(reply: object) -> None:
    """A message that was lost leaves a hole in the numbers, and whoever misses it asks."""
