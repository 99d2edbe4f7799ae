"""The histories of several Redis servers as one. Each channel has its history on its own server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fastws.brokers.history import HistoryRule
from fastws.brokers.redis.history import RedisHistory
from fastws.brokers.redis.tail import Answer
from fastws.brokers.redis.topology.port import Topology
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.vocabulary.positions import Page, Past, Position


class SeveralHistories:
    """A History over all nodes of `topology`, each of which has one."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    @property
    def _all(self) -> list[RedisHistory]:
        return [history for node in self._topology.nodes if (history := node.history) is not None]

    def _of(self, channel: str) -> RedisHistory:
        history = self._topology.node_of(channel).history
        return self._all[0] if history is None else history

    def __len__(self) -> int:
        return sum(len(history) for history in self._all)

    @property
    def bytes(self) -> int:
        return self._all[0].bytes  # all share one memory

    def rule(self, channel: str) -> HistoryRule | None:
        return self._of(channel).rule(channel)

    def keeps(self, channel: str) -> bool:
        return self._of(channel).keeps(channel)

    def heard(self, channel: str) -> Position | None:
        return self._of(channel).heard(channel)

    async def tops(self, channels: Sequence[str]) -> list[int | None]:
        tops = await asyncio.gather(*(self._of(channel).tops([channel]) for channel in channels))
        return [top for (top,) in tops]

    async def channels(self) -> list[str]:
        """Return the channels with a numbering on all servers. Raises BrokerUnavailable if one of them is away."""
        nodes = self._topology.channel_nodes
        if not nodes:
            raise BrokerUnavailable("the nodes of the Redis Cluster are not known yet: try again")
        lists = await asyncio.gather(*(node.history.channels() for node in nodes if node.history is not None))
        # While a slot moves, two nodes may have keys of a channel.
        return list(dict.fromkeys(channel for channels in lists for channel in channels))

    def recover(self, channel: str, past: Past, answer: Answer, late: Callable[[Position], None]) -> None:
        self._of(channel).recover(channel, past, answer, late)

    def page(
        self,
        channel: str,
        position: Position | None,
        limit: int,
        *,
        is_reverse: bool,
        answer: Callable[[Page | FastWSError], None],
    ) -> None:
        self._of(channel).page(channel, position, limit, is_reverse=is_reverse, answer=answer)

    def clear(self, channel: str, answer: Callable[[Position | FastWSError], None]) -> None:
        self._of(channel).clear(channel, answer)


def history_of(topology: Topology) -> RedisHistory | SeveralHistories | None:
    """Return the history of all nodes, None if no channel has one."""
    history = topology.home.history
    is_one = list(topology.channel_nodes) == [topology.home]
    return history if history is None or is_one else SeveralHistories(topology)
