"""A node: one Redis server that holds channels, with the connections of this process to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from fastws.brokers.redis.history import RedisHistory
from fastws.brokers.redis.monitor import RedisMonitor
from fastws.brokers.redis.refusals import RedisRefusals
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.link import RedisLink
from fastws.brokers.redis.wire.listener import Names, RedisListener
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.redis_address import RedisAddress


class NodeEvents(Protocol):
    """The events of a node, for the broker. No method may raise."""

    def received(self, name: bytes, payload: bytes) -> None:
        """A message has arrived on the Redis channel `name`. Hot: called by the listener directly."""
        ...

    def confirmed(self, node: RedisNode, name: bytes) -> None:
        """The node has confirmed the subscription to `name`."""
        ...

    def refused(self, node: RedisNode, names: Names, name: bytes, reason: str) -> None:
        """The ACL of the node forbids `name`, one of `names`; with empty `names`, the command `name`."""
        ...

    def listener_lost(self, node: RedisNode) -> None:
        """Messages of this node may be missed from now on, until it confirms the subscriptions again."""
        ...

    def commander_lost(self, node: RedisNode) -> None:
        """Commands under way on this node have been refused."""
        ...

    def node_moved(self, node: RedisNode) -> None:
        """The node is at another address than before: a failover."""
        ...

    def beat(self, node: RedisNode, now: float) -> None:
        """Runs every second, whether the node is up or not."""
        ...

    def ended(self, node: RedisNode, names: Names) -> None:
        """The node of a cluster has ended the subscription to `names`: it does not serve their slot any more."""
        ...

    def moved(self) -> None:
        """Channels may belong to other nodes than before; see topology/port.py."""
        ...


class NodeOptions(NamedTuple):
    """The options that all nodes of a process share. `remedy` is the command, for the log, that allows the channels."""

    name: str
    timeouts: RedisTimeouts
    observe_lag: Callable[[float], None]
    remedy: str


class RedisNode:
    """A commander and a listener, kept connected to `address`, and the monitor that checks both.

    `probe_name` is the Redis channel of the probe. `history` is set by the broker if channels have one.
    """

    def __init__(self, address: RedisAddress, probe_name: bytes, events: NodeEvents, options: NodeOptions) -> None:
        self.address = address
        self.name = options.name
        # How the node is called where its address may change or is not known yet.
        self.title = ""
        self.history: RedisHistory | None = None
        # The round-trip time of the last probe.
        self.lag_seconds = 0.0
        self._events = events
        self._observe_lag = options.observe_lag
        timeouts, name = options.timeouts, options.name
        self.commander = self._make_commander(f"{name}-commands", timeouts)
        self.listener = self._make_listener()
        self._links = (
            RedisLink(address, self.commander, "commands", name=f"{name}-commands", is_leading=True),
            RedisLink(address, self.listener, "listener", name=f"{name}-listener"),
        )
        self.refusals = RedisRefusals(
            self.listener.ask_again, lambda: asyncio.get_running_loop().time(), options.remedy
        )
        self.monitor = RedisMonitor(
            probe_name, self.commander, self.listener, self.refusals, timeouts, self._lagged, self.sweep
        )
        self._tasks: list[asyncio.Task[None]] = []

    def _make_commander(self, name: str, timeouts: RedisTimeouts) -> RedisCommander:
        return RedisCommander(name, self._commander_up, self._commander_down, timeouts, self._leave_replica)

    def _make_listener(self) -> RedisListener:
        return RedisListener(
            self._events.received, self._confirmed, self._listener_up, self._listener_down, self._refused
        )

    def _leave_replica(self, reason: str) -> None:
        self.monitor.leave_replica(reason)

    def __str__(self) -> str:
        return self.title or str(self.address)

    @property
    def is_up(self) -> bool:
        """Whether messages pass through the node: a message to this process itself did in the last 3 seconds."""
        return self.monitor.is_up

    def start(self, *, is_located: bool = True) -> None:
        """Begin to connect, and to try again until `stop`. Without `is_located` this begins with the first `move`."""
        self.monitor.start()
        if is_located:
            self._connect()

    def _connect(self) -> None:
        self._tasks = [asyncio.get_running_loop().create_task(link.run()) for link in self._links]

    async def stop(self) -> None:
        """Disconnect. Commands without a reply are refused."""
        self.monitor.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        # The loop closes the sockets in its next iteration.
        await asyncio.sleep(0)
        if self.history is not None:
            self.history.stop()

    def move(self, address: RedisAddress, reason: str) -> None:
        """The node is at `address` now: close both connections for `reason`, and open others there at once."""
        self.address = address
        for link in self._links:
            link.move(address)
        if self._tasks:
            self._events.node_moved(self)
            self.monitor.leave_replica(reason)
        else:
            self._connect()

    def _lagged(self, seconds: float) -> None:
        self.lag_seconds = seconds
        self._observe_lag(seconds)

    def _confirmed(self, name: bytes) -> None:
        self._events.confirmed(self, name)

    def _refused(self, names: Names, name: bytes, reason: str) -> None:
        self._events.refused(self, names, name, reason)

    def _listener_up(self) -> None:
        self._reconnect_all()

    def _commander_up(self) -> None:
        if self.history is not None:
            self.history.publisher.commander_up()
        self._reconnect_all()
        self.monitor.commander_up()

    def _reconnect_all(self) -> None:
        """One connection has found Redis alive: the other link must not wait for its backoff."""
        for link in self._links:
            link.reconnect_now()
        self.monitor.connected()

    def _listener_down(self, reason: str) -> None:
        self.monitor.listener_down()
        self._events.listener_lost(self)
        if self.history is not None:
            self.history.lost()

    def _commander_down(self, reason: str) -> None:
        if self.history is not None:
            self.history.publisher.commander_down()
        self._events.commander_lost(self)

    def sweep(self, now: float) -> None:
        """Runs every second, whether the node is up or not."""
        self._events.beat(self, now)
        self.refusals.sweep(now)
        if self.history is not None:
            self.history.sweep(now)
