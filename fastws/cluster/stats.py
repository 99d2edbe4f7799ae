"""The statistics of this process that other processes need."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from fastws.hub.hub import Hub
from fastws.hub.roster import Roster

# Entries counted before the loop may look at its sockets again: about a millisecond.
SLICE: Final = 2_000


@dataclass(slots=True)
class NodeStats:
    """Number of connections by dialect and by user, and of subscribers by channel."""

    dialects: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)


async def collect_stats(hub: Hub, roster: Roster) -> NodeStats:
    """Count the connections and subscribers of this process, in slices because there may be a million channels."""
    dialects: Counter[str] = Counter()
    users: Counter[str] = Counter()
    channels: dict[str, int] = {}
    for position, client in enumerate(list(roster)):
        if position % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        dialects[client.dialect_name] += 1
        if client.identity is not None:
            users[client.identity.user] += 1
    for position, (name, channel) in enumerate(list(hub.channels.items())):
        if position % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        channels[name] = channel.subscribers
    return NodeStats(dict(dialects), dict(users), channels)
