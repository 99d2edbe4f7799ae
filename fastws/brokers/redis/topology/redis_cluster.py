"""A Redis Cluster: each channel is on the node that owns its slot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import structlog

from fastws.brokers.redis.channels import CACHED_CHANNELS, RedisNames
from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.topology.cluster_node import ClusterNode
from fastws.brokers.redis.topology.port import MakeNode
from fastws.brokers.redis.wire.cluster.discovery import NotUsable, read_slots
from fastws.brokers.redis.wire.cluster.slots import Node, SlotMap, key_slot
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.listener import Names
from fastws.redis_places import ClusterAddress

# Intervals at which the map of the slots is read: always, and while a node is away or has refused a slot.
REFRESH_SECONDS: Final = 30.0
DOUBT_SECONDS: Final = 0.1
# A node that is asked for keys that were carried over may own no slot yet.
KEPT_SECONDS: Final = 10.0

_log = structlog.get_logger("fastws.redis")


class RedisClusterTopology:
    """A Topology of the primaries of a Redis Cluster.

    One of the seeds in `address` must answer at the start. The home node has connections of its own to the owner of the
    slot of the registry, and passes on everything else. Until the map is known, every channel belongs to it, and it is
    not connected.
    """

    # The processes need not know the same nodes: those of the cluster know each other.
    servers = ""

    def __init__(self, address: ClusterAddress, names: RedisNames, make_node: MakeNode) -> None:
        self.is_classic = names.is_classic
        self._login = address.seeds[0]
        self._seeds = tuple(Node(seed.host, seed.port) for seed in address.seeds)
        self._make_node = make_node
        self._slots = SlotMap()
        self._home_slot = key_slot(names.service("nodes"))
        # Called for every publication; forgotten when slots move.
        self.node_of = lru_cache(CACHED_CHANNELS)(lambda channel: self._node_at(key_slot(names.live(channel))))
        self._nodes: dict[Node, ClusterNode] = {}
        # Nodes that others have named, and until when they are kept even if the map does not have them.
        self._kept: dict[Node, float] = {}
        # Subscriptions of the home node, and the nodes that have them.
        self._services: dict[Names, RedisNode] = {}
        # Subscriptions that a node has ended, until the map was read again.
        self._ended: dict[Names, RedisNode] = {}
        self._is_moving = False
        # The node that has named another owner last: it knows more than others.
        self._best: Node | None = None
        self._in_doubt = asyncio.Event()
        self._is_known = asyncio.Event()
        self._is_home_located = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._reason = ""
        self._home = self._new_node(self._seeds[0], "")

    def _new_node(self, node: Node, word: str) -> ClusterNode:
        made = self._make_node(replace(self._login, host=node.host, port=node.port), word, self)
        assert isinstance(made, ClusterNode)  # noqa: S101 that is what makes them, given a cluster
        return made

    # --- the port

    @property
    def home(self) -> RedisNode:
        return self._home

    @property
    def nodes(self) -> Sequence[RedisNode]:
        return (self._home, *self._nodes.values())

    @property
    def channel_nodes(self) -> Sequence[RedisNode]:
        return tuple(self._nodes.values())

    def other_feed_nodes(self, channel: str) -> Sequence[RedisNode]:
        """Return none: every node of a cluster passes PUBLISH on to all others."""
        return ()

    def _node_at(self, slot: int) -> RedisNode:
        owner = self._slots.owner(slot)
        return self._home if owner is None else self._nodes[owner]

    async def start(self) -> None:
        self._home.start(is_located=False)
        self._spawn(self._run())

    async def wait_until_known(self) -> None:
        await self._is_known.wait()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(node.stop() for node in self.nodes))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what the nodes say

    def owner(self, slot: int) -> RedisCommander | None:
        node = self._slots.owner(slot)
        return None if node is None else self._nodes[node].commander

    def commander_at(self, node: Node) -> RedisCommander:
        self._kept[node] = asyncio.get_running_loop().time() + KEPT_SECONDS
        return self._ensure(node).commander

    def moved(self, slot: int, node: Node) -> RedisCommander:
        commander = self.commander_at(node)
        self._best = node
        self._slots.moved(slot, node)
        self.node_of.cache_clear()
        self._announce_soon()
        self.doubt()
        return commander

    def ended(self, node: RedisNode, names: Names) -> None:
        self._ended[names] = node
        if isinstance(node, ClusterNode):
            node.tell_ended(names)
            self._best = node.commander.node
        self.doubt()

    def doubt(self) -> None:
        self._in_doubt.set()

    def want(self, names: Names) -> None:
        node = self._services[names] = self._node_at(key_slot(names[0]))
        if node is not self._home:
            node.listener.want(names)

    def drop(self, names: Names) -> None:
        node = self._services.pop(names, None)
        if node is not None and node is not self._home:
            node.listener.drop(names)

    # --- the map

    async def _run(self) -> None:
        """Read the map at once, again whenever it is in doubt, and every 30 s."""
        while True:
            self._in_doubt.clear()
            try:
                self._apply(await read_slots(self._login, self._candidates(), "fastws-topology"))
            except NotUsable as error:
                self._log_once(str(error))
            await asyncio.sleep(DOUBT_SECONDS)
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the event.
                async with asyncio.timeout(REFRESH_SECONDS if self._is_whole() else 0.0):
                    await self._in_doubt.wait()

    def _candidates(self) -> Iterator[Node]:
        """Yield the nodes to ask, the best first."""
        alive = [node for node, made in self._nodes.items() if made.commander.is_up]
        best = [] if self._best is None else [self._best]
        yield from dict.fromkeys((*best, *alive, *self._slots.replicas, *self._nodes, *self._seeds))

    def _is_whole(self) -> bool:
        is_up = all(node.commander.is_up and node.listener.is_up for node in self.nodes)
        return is_up and not self._ended and not self._reason

    def _log_once(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            _log.warning("cannot read the slots of the redis cluster", reason=reason)

    def _apply(self, newer: SlotMap) -> None:
        """Use the map from now on: first the nodes that have come, then what has moved, then those that are gone."""
        self._reason = ""
        primaries = newer.primaries()
        for node in primaries:
            self._ensure(node)
        has_changed = next(self._slots.changes(newer), None) is not None
        self._slots = newer
        self.node_of.cache_clear()
        if has_changed:
            self._announce()
        self._is_known.set()
        now = asyncio.get_running_loop().time()
        self._kept = {node: until for node, until in self._kept.items() if until > now}
        for node in self._nodes.keys() - primaries - self._kept.keys():
            self._spawn(self._nodes.pop(node).stop())
        ended, self._ended = self._ended, {}
        for names, had in ended.items():
            if had in self._nodes.values():
                had.listener.ask_again(names)

    def _ensure(self, node: Node) -> ClusterNode:
        if node not in self._nodes:
            self._nodes[node] = self._new_node(node, f"{node}")
            self._nodes[node].start()
        return self._nodes[node]

    def _announce_soon(self) -> None:
        """Announce all moves of this loop iteration together."""
        if not self._is_moving:
            self._is_moving = True
            asyncio.get_running_loop().call_soon(self._announce)

    def _announce(self) -> None:
        """Bring the home node, its subscriptions and the channels to the owners of their slots."""
        self._is_moving = False
        owner = self._slots.owner(self._home_slot)
        if owner is not None and (owner != self._home.commander.node or not self._is_home_located):
            self._is_home_located = True
            address = replace(self._login, host=owner.host, port=owner.port)
            self._home.move(address, "the cluster has another owner for the slot of the registry")
        for names, had in list(self._services.items()):
            if had is not self._node_at(key_slot(names[0])):
                self.drop(names)
                self.want(names)
        self._home.tell_moved()
