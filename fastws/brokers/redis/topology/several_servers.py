"""Several Redis servers that know nothing of each other. Each channel lies on one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.topology.server import Server
from fastws.rendezvous import position_of

CACHED_CHANNELS: Final = 65_536


class SeveralServers:
    """A Topology of independent nodes: channels are spread by rendezvous hashing of the servers' identities.

    The first in alphabetical order is the home node, so that the order in `redis_url` does not matter. `servers` is a
    fingerprint of the list, by which processes notice that theirs differ.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = sorted(servers, key=lambda server: server.identity)
        self._identities = [server.identity for server in self._servers]
        self.nodes: Sequence[RedisNode] = tuple(server.node for server in self._servers)
        self.channel_nodes = self.nodes
        self.home = self.nodes[0]
        self.servers = blake2b("\n".join(self._identities).encode(), digest_size=6).hexdigest()
        # Called for every publication. Hashing takes some µs.
        self.node_of = lru_cache(CACHED_CHANNELS)(self._node_of)

    def _node_of(self, channel: str) -> RedisNode:
        return self.nodes[position_of(channel, self._identities)]

    def other_feed_nodes(self, channel: str) -> Sequence[RedisNode]:
        """Return all other nodes: a plain publisher need not know the list.

        None for a feed with a history: only one server can bring its messages into one order.
        """
        own = self.node_of(channel)
        if own.history is not None and own.history.keeps(channel):
            return ()
        return [node for node in self.nodes if node is not own]

    async def start(self) -> None:
        for server in self._servers:
            server.start()

    async def wait_until_known(self) -> None:
        """Return at once."""

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self._servers))
