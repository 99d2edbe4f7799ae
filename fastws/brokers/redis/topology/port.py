"""The port between the broker and the Redis servers behind `redis_url`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from fastws.brokers.redis.node import RedisNode
from fastws.redis_address import RedisAddress

if TYPE_CHECKING:
    from fastws.brokers.redis.topology.cluster_node import Cluster


class MakeNode(Protocol):
    """Makes a node that is not started.

    The word, if any, tells its probe from those of the other nodes. `cluster` is given for a node of a Redis Cluster.
    """

    def __call__(self, address: RedisAddress, word: str, cluster: Cluster | None = None) -> RedisNode: ...


class Topology(Protocol):
    """Maps a channel to a node, a node being a commander and a listener (brokers/redis/node.py).

    The contract:

    - `node_of(channel)` answers at once, the same until `moved` is called, and for all processes alike. A node answers
      for all that belongs to a channel: publications, subscriptions, history, presence, and on a feed the plain
      publishers.
    - `home` holds what belongs to no channel: registry, requests between processes, revocations, message ids, last
      metrics.
    - A node that is lost or returns tells the broker by itself (NodeEvents): subscriptions, receipts, probes and gaps
      are kept per node. When it is lost, publications on its channels are refused within 2 s and its channels become
      unconfirmed. When it returns, it confirms them again, and each gets its history filled in, or one gap notice if
      it has no history. Channels of other nodes notice nothing.
    - `node.move(address, reason)` tells that a node is at another address, for example after a failover: as lost and
      returned, without the backoff.
    - Where channels belong to other nodes than before, call `moved()` of the broker *after* `node_of` answers with the
      new nodes. It drops these channels on their old node, subscribes to them on the new one, and resolves their
      receipts. When the new node confirms, history is filled in or a gap notice follows.
    - A node that has come is started by the topology before `node_of` answers with it, one that goes is stopped after
      `moved()`.
    """

    @property
    def home(self) -> RedisNode: ...

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """All nodes. Never empty."""
        ...

    @property
    def servers(self) -> str:
        """A fingerprint of the list of servers where all processes must have the same one; else ""."""
        ...

    @property
    def channel_nodes(self) -> Sequence[RedisNode]:
        """Those of `nodes` that hold channels. Empty while it is not known which these are."""
        ...

    def node_of(self, channel: str) -> RedisNode: ...

    def other_feed_nodes(self, channel: str) -> Sequence[RedisNode]:
        """The other nodes, not that of the feed `channel`, on which plain publishers may publish on it."""
        ...

    async def start(self) -> None:
        """Start the nodes, without waiting until they are connected."""
        ...

    async def wait_until_known(self) -> None:
        """Return once it is known which nodes hold channels."""
        ...

    async def stop(self) -> None:
        """Stop the nodes. Commands without a reply are refused."""
        ...
