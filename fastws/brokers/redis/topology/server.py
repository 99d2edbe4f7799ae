"""One server of `redis_url`: a node and, if Sentinel names its address, the watch that follows it."""

from __future__ import annotations

from typing import NamedTuple

from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.topology.sentinel import SentinelWatch


class Server(NamedTuple):
    """`identity` is the name by which channels are spread over several servers."""

    identity: str
    node: RedisNode
    watch: SentinelWatch | None

    def start(self) -> None:
        self.node.start(is_located=self.watch is None)
        if self.watch is not None:
            self.watch.start()

    async def stop(self) -> None:
        if self.watch is not None:
            await self.watch.stop()
        await self.node.stop()
