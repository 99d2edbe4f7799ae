"""What this process has to tell the others about itself."""

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
class Figures:
    """Connections by dialect and by user, subscribers by channel."""

    dialects: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)


class LocalStats:
    """Counts what the hub and the roster hold, in slices, because there may be a million channels."""

    def __init__(self, hub: Hub, roster: Roster) -> None:
        self._hub = hub
        self._roster = roster

    async def count(self) -> Figures:
        dialects: Counter[str] = Counter()
        users: Counter[str] = Counter()
        channels: dict[str, int] = {}
        for position, client in enumerate(list(self._roster)):
            if position % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            dialects[client.dialect_name] += 1
            if client.identity is not None:
                users[client.identity.user] += 1
        for position, (name, channel) in enumerate(list(self._hub.channels.items())):
            if position % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            channels[name] = channel.subscribers
        return Figures(dict(dialects), dict(users), channels)
