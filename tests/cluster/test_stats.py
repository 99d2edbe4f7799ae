"""The statistics of one process: counts by dialect, user and channel, in slices."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from fastws.cluster.stats import SLICE, NodeStats, collect_stats
from fastws.vocabulary.identity import Identity


class Client(NamedTuple):
    dialect_name: str
    identity: Identity | None


class Channel(NamedTuple):
    subscribers: int


class Hub:
    def __init__(self, channels: dict[str, Channel]) -> None:
        self.channels = channels


async def test_connections_are_counted_by_dialect_and_user_and_subscribers_by_channel() -> None:
    roster = [Client("channels", Identity("ann")), Client("channels", None), Client("rooms", Identity("ann"))]
    stats = await collect_stats(Hub({"news": Channel(3)}), roster)  # type: ignore[arg-type]
    assert stats == NodeStats(dialects={"channels": 2, "rooms": 1}, users={"ann": 2}, channels={"news": 3})


async def test_a_large_table_is_counted_in_slices_and_may_change_meanwhile() -> None:
    channels = {f"c{number}": Channel(1) for number in range(2 * SLICE)}
    counting = asyncio.create_task(collect_stats(Hub(channels), []))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert not counting.done()
    channels.clear()
    assert len((await counting).channels) == 2 * SLICE
