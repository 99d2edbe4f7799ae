"""The internal Redis channels of a process: probes, the messages between processes, revocations."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastws.brokers.redis.node import RedisNode


class Service(NamedTuple):
    """The callbacks of an internal Redis channel. `subscribed` is called after each (re)subscription."""

    receive: Callable[[bytes], None]
    subscribed: Callable[[], None]
    node: RedisNode


class RedisServices:
    """The services by Redis channel, each on its node. `rejected` gets the error of a message that cannot be read."""

    def __init__(self, rejected: Callable[[Exception], None]) -> None:
        self._rejected = rejected
        self._services: dict[bytes, Service] = {}
        # The nodes that have confirmed the subscriptions and have not lost them since. In a cluster, the home node
        # leaves them to others.
        self._confirmed: dict[bytes, RedisNode] = {}

    def add(self, name: bytes, service: Service) -> None:
        """Subscribe to the Redis channel `name`."""
        self._services[name] = service
        service.node.listener.want((name,))

    def remove(self, name: bytes) -> None:
        """Unsubscribe from the Redis channel `name`."""
        service = self._services.pop(name, None)
        self._confirmed.pop(name, None)
        if service is not None:
            service.node.refusals.forget((name,))
            service.node.listener.drop((name,))

    def receive(self, name: bytes, payload: bytes) -> None:
        """Pass a message to the service of `name`, if there is one. Never raises."""
        service = self._services.get(name)
        if service is None:
            return
        try:
            service.receive(payload)
        except Exception as error:  # noqa: BLE001 any client of Redis may publish anything there
            self._rejected(error)

    def confirmed(self, node: RedisNode, name: bytes) -> bool:
        """`node` has confirmed `name`. Returns False if that belongs to no service."""
        service = self._services.get(name)
        if service is None:
            return False
        node.refusals.accepted((name,))
        node.listener.accepted((name,))
        self._confirmed[name] = node
        service.subscribed()
        return True

    def is_confirmed(self, name: bytes) -> bool:
        """Whether messages on `name` arrive."""
        return name in self._confirmed

    def lost(self, node: RedisNode) -> None:
        """`node` has lost all its subscriptions."""
        for name in [name for name, confirmed_by in self._confirmed.items() if confirmed_by is node]:
            del self._confirmed[name]

    def ended(self, node: RedisNode, name: bytes) -> None:
        """`node` has ended the subscription to `name`."""
        if self._confirmed.get(name) is node:
            del self._confirmed[name]
