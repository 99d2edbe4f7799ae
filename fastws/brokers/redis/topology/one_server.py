"""One Redis server, which holds everything."""

from __future__ import annotations

from collections.abc import Sequence

from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.topology.server import Server


class OneServer:
    """A Topology of one node."""

    servers = ""

    def __init__(self, server: Server) -> None:
        self.home = server.node
        self._server = server

    @property
    def nodes(self) -> Sequence[RedisNode]:
        return (self.home,)

    channel_nodes = nodes

    def node_of(self, channel: str) -> RedisNode:
        return self.home

    def other_feed_nodes(self, channel: str) -> Sequence[RedisNode]:
        return ()

    async def start(self) -> None:
        self._server.start()

    async def wait_until_known(self) -> None:
        """Return at once."""

    async def stop(self) -> None:
        await self._server.stop()
