"""One plain Redis server, which holds everything."""

from __future__ import annotations

from collections.abc import Sequence

from fastws.brokers.redis.node import RedisNode


class OneServer:
    """A Topology of one node."""

    def __init__(self, node: RedisNode) -> None:
        self.home = node

    @property
    def nodes(self) -> Sequence[RedisNode]:
        return (self.home,)

    def node_of(self, channel: str) -> RedisNode:
        return self.home

    async def start(self) -> None:
        self.home.start()

    async def stop(self) -> None:
        await self.home.stop()
