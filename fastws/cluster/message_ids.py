"""Message ids in the memory of one process: which publications were made already, and how they ended."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

REMEMBERED_SECONDS: Final = 300.0
MAX_MESSAGE_IDS: Final = 100_000

Outcome = Mapping[str, int]


class _Try:
    """The first try under an id. `ended` is made where somebody waits for it."""

    __slots__ = ("ended", "expires_at", "outcome")

    def __init__(self, expires_at: float) -> None:
        self.expires_at = expires_at
        self.outcome: Outcome | None = None
        self.ended: asyncio.Event | None = None


class MessageIds:
    """Each id is published under once in 5 minutes, or until MAX_MESSAGE_IDS others have come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, _Try] = OrderedDict()

    async def reserve(self, message_id: str) -> Outcome | None:
        """None: the caller is first, and must `settle`. Else how the first try ended, once it has ended."""
        while True:
            now = self._clock()
            first = self._tries.get(message_id)
            if first is None or first.expires_at <= now:
                self._make_room(now)
                self._tries[message_id] = _Try(now + REMEMBERED_SECONDS)
                self._tries.move_to_end(message_id)
                return None
            if first.outcome is not None:
                return first.outcome
            if first.ended is None:
                first.ended = asyncio.Event()
            await first.ended.wait()

    def record_outcome(self, message_id: str, outcome: Outcome | None) -> None:
        """The try under this id ended so; None: nothing was published, and the next one may."""
        first = self._tries.get(message_id) if outcome is not None else self._tries.pop(message_id, None)
        if first is None:
            return
        first.outcome = outcome
        if first.ended is not None:
            first.ended.set()
            first.ended = None

    def _make_room(self, now: float) -> None:
        tries = self._tries
        while tries:
            oldest = next(iter(tries.values()))
            is_due = oldest.expires_at <= now or len(tries) >= MAX_MESSAGE_IDS
            if not is_due or oldest.outcome is None:
                return  # ids come in the order of their time; one under way is never let go
            tries.popitem(last=False)
