"""A node of a Redis Cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fastws.brokers.redis.node import NodeEvents, NodeOptions, RedisNode
from fastws.brokers.redis.once import load_first
from fastws.brokers.redis.wire.cluster.cluster_commander import ClusterCommander, Slots
from fastws.brokers.redis.wire.cluster.sharded_listener import ShardedListener
from fastws.brokers.redis.wire.cluster.slots import Node, key_of, key_slot
from fastws.brokers.redis.wire.commander import Answered, RedisCommander
from fastws.brokers.redis.wire.listener import Names
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.redis_address import RedisAddress


class Cluster(Slots, Protocol):
    """The cluster, as its nodes see it."""

    def is_classic(self, name: bytes) -> bool:
        """Whether the Redis channel `name` is not sharded."""
        ...

    def owner(self, slot: int) -> RedisCommander | None:
        """Return the commander of the owner of `slot`, None while it is not known."""
        ...

    def want(self, names: Names) -> None:
        """Subscribe to `names`, which belong to no channel, where their slot is."""
        ...

    def drop(self, names: Names) -> None:
        """End that subscription."""
        ...

    def ended(self, node: RedisNode, names: Names) -> None:
        """`node` does not serve the slot of `names` any more."""
        ...

    def doubt(self) -> None:
        """The map of the slots may have changed."""
        ...


class ClusterNode(RedisNode):
    """A RedisNode that follows the slots of `cluster`.

    The home node passes commands to the owners of their slots, and subscriptions, too, except classic ones.
    """

    commander: ClusterCommander

    def __init__(
        self,
        address: RedisAddress,
        probe_name: bytes,
        events: NodeEvents,
        options: NodeOptions,
        cluster: Cluster,
        *,
        is_home: bool,
    ) -> None:
        self._cluster = cluster
        self._is_home = is_home
        self._first_address = address
        self._node_events = events
        super().__init__(address, probe_name, events, options)

    def _make_commander(self, name: str, timeouts: RedisTimeouts) -> ClusterCommander:
        kind = _HomeCommander if self._is_home else ClusterCommander
        commander = kind(
            *(name, self._commander_up, self._commander_down, timeouts, self._leave_replica),
            node=Node(self._first_address.host, self._first_address.port),
            slots=self._cluster,
            is_classic=self._cluster.is_classic,
        )
        commander.on_leaving = self._send_gathered
        return commander

    def _send_gathered(self) -> None:
        if self.history is not None:
            self.history.publisher.send_all()

    def _make_listener(self) -> ShardedListener:
        kind = _HomeListener if self._is_home else ShardedListener
        listener = kind(
            *(self._node_events.received, self._confirmed, self._listener_up, self._listener_down, self._refused),
            is_classic=self._cluster.is_classic,
            on_ended=lambda names: self._cluster.ended(self, names),
        )
        if isinstance(listener, _HomeListener):
            listener.want_elsewhere, listener.drop_elsewhere = self._cluster.want, self._cluster.drop
        return listener

    def move(self, address: RedisAddress, reason: str) -> None:
        self.commander.node = Node(address.host, address.port)
        super().move(address, reason)

    def tell_ended(self, names: Names) -> None:
        self._node_events.ended(self, names)

    def tell_moved(self) -> None:
        self._node_events.moved()

    def _listener_down(self, reason: str) -> None:
        super()._listener_down(reason)
        self._cluster.doubt()

    def _commander_up(self) -> None:
        # Commands that follow a slot come without the script that they run.
        load_first(self.commander)
        super()._commander_up()

    def _commander_down(self, reason: str) -> None:
        super()._commander_down(reason)
        self._cluster.doubt()


class _HomeCommander(ClusterCommander):
    _slots: Cluster

    def publish(self, name: bytes, payload: bytes, answered: Answered) -> None:
        owner = None if self._is_classic(name) else self._slots.owner(key_slot(name))
        if owner is None:
            super().publish(name, payload, answered)
        else:
            owner.publish(name, payload, answered)

    def for_key(self, key: bytes) -> RedisCommander:
        return self._slots.owner(key_slot(key)) or self

    def send(self, packed: bytes, answered: Answered, *, is_bound: bool = False) -> None:
        key = key_of(packed)
        owner = self._slots.owner(key_slot(key)) if key else None
        if owner is None or packed.startswith(_CLASSIC_PUBLISH):
            super().send(packed, answered, is_bound=is_bound)
        else:
            owner.send(packed, answered, is_bound=is_bound)


_CLASSIC_PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n"


class _HomeListener(ShardedListener):
    want_elsewhere: Callable[[Names], None]
    drop_elsewhere: Callable[[Names], None]

    def want(self, names: Names) -> None:
        if self._is_classic(names[0]):
            super().want(names)
        else:
            self.want_elsewhere(names)

    def drop(self, names: Names) -> None:
        if self._is_classic(names[0]):
            super().drop(names)
        else:
            self.drop_elsewhere(names)
