"""Lists of channels, collected in slices, because a process may have a million of them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

# Names or clients that are looked at before the loop may look at its sockets again: a millisecond or two.
SLICE: Final = 1_000


@dataclass(slots=True, frozen=True)
class ChannelList:
    """Names of channels, sorted, and the number of all channels that were looked for."""

    names: list[str]
    total: int


async def list_channels(names: Iterable[str], is_wanted: Callable[[str], bool], limit: int) -> ChannelList:
    """Return the first `limit` of those `names` that are wanted, by name, and the number of all that are."""
    everything = list(names)
    total = 0
    first: list[str] = []
    for start in range(0, len(everything), SLICE):
        if start:
            await asyncio.sleep(0)
        wanted = [name for name in everything[start : start + SLICE] if is_wanted(name)]
        total += len(wanted)
        first = heapq.nsmallest(limit, [*first, *wanted])
    return ChannelList(first, total)
