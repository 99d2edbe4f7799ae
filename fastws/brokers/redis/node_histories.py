"""Makes the histories of the nodes of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from fastws.brokers.history import HistoryRules
from fastws.brokers.redis.channels import RedisNames
from fastws.brokers.redis.history import RedisHistory
from fastws.brokers.redis.history_scripts import HistoryKeys
from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.numbered_publisher import NumberedPublisher
from fastws.brokers.redis.tail import HistoryLimits
from fastws.brokers.redis.tail_delivery import TailDelivery
from fastws.brokers.redis.tail_reader import Echoed
from fastws.config import Config
from fastws.counters import Counters
from fastws.hub.ports import Deliverer


class NodeHistories:
    """One history for each node. They share the memory of `history_bytes`.

    A publication that a node refuses because the slot of its channel has moved goes to the publisher of the new node.
    `node_of` is that of the topology, `is_confirmed` and `echoed` are as for RedisHistory.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        config: Config,
        names: RedisNames,
        rules: HistoryRules,
        counters: Counters,
        *,
        node_id: str,
        node_of: Callable[[str], RedisNode],
        is_confirmed: Callable[[str], bool],
        echoed: Echoed,
    ) -> None:
        self._node_of = node_of
        limits = HistoryLimits(config.recover_limit, config.history_bytes)
        keys = HistoryKeys(names.service(""), is_cluster=names.is_cluster)
        self._make = partial(
            RedisHistory,
            deliverer,
            keys=keys,
            rules=rules,
            counters=counters,
            is_confirmed=is_confirmed,
            echoed=echoed,
            is_feed=names.is_feed,
            node=node_id,
            limits=limits,
            delivery=TailDelivery(deliverer, counters, limits.bytes, _clock),
            clock=_clock,
        )

    def make(self, node: RedisNode) -> RedisHistory:
        """Return the history of `node`."""
        history = self._make(commander=node.commander)
        history.publisher.owner = partial(self._publisher_of, history.publisher)
        return history

    def _publisher_of(self, asking: NumberedPublisher, channel: str) -> NumberedPublisher:
        history = self._node_of(channel).history
        return asking if history is None else history.publisher


def _clock() -> float:
    return asyncio.get_running_loop().time()
