"""Message ids in the memory of one process: detects repeated publications and returns the first outcome."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fastws.cluster.port import Outcome, Publish
from fastws.errors import OutcomeUnknown

REMEMBERED_SECONDS: Final = 300.0
MAX_MESSAGE_IDS: Final = 100_000

# The outcome for an id that was published with an unknown result.
UNKNOWN_OUTCOME: Final[Outcome] = {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1}


class _Try:
    """The first try with an id. `ended` is created when another try waits for it."""

    __slots__ = ("ended", "expires_at", "outcome")

    def __init__(self, expires_at: float) -> None:
        self.expires_at = expires_at
        self.outcome: Outcome | None = None
        self.ended: asyncio.Event | None = None


class MessageIds:
    """Allows one publication per id, for 5 minutes or until MAX_MESSAGE_IDS later ids have arrived.

    `clock` returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, _Try] = OrderedDict()

    async def once(self, message_id: str, publish: Publish) -> Outcome:
        """Publish, or return the outcome of the first time. Raises what `publish` raises."""
        known = await self.reserve(message_id)
        if known is not None:
            return known
        try:
            outcome = await publish(message_id)
        except (OutcomeUnknown, asyncio.CancelledError):
            # The caller has disconnected, or the outcome is unknown: the message may have been published.
            self.leave(message_id)
            raise
        except BaseException:
            self.record_outcome(message_id, None)
            raise
        self.record_outcome(message_id, outcome)
        return outcome

    async def reserve(self, message_id: str) -> Outcome | None:
        """Return None for the first try, which must then call `record_outcome` or `leave`.

        Return the outcome of the first try to all others, and wait for it if necessary.
        """
        while True:
            now = self._clock()
            first = self._tries.get(message_id)
            if first is None or first.expires_at <= now:
                self._drop_old(now)
                self._tries[message_id] = _Try(now + REMEMBERED_SECONDS)
                self._tries.move_to_end(message_id)
                return None
            if first.outcome is not None:
                return first.outcome
            if first.ended is None:
                first.ended = asyncio.Event()
            await first.ended.wait()

    def record_outcome(self, message_id: str, outcome: Outcome | None) -> None:
        """Store the outcome of the try with this id. None: nothing was published, so the next try may publish."""
        first = self._tries.get(message_id) if outcome is not None else self._tries.pop(message_id, None)
        if first is None:
            return
        first.outcome = outcome
        if first.ended is not None:
            first.ended.set()
            first.ended = None

    def leave(self, message_id: str) -> None:
        """The outcome of the try with this id is unknown. Further tries are answered as duplicates."""
        self.record_outcome(message_id, UNKNOWN_OUTCOME)

    def _drop_old(self, now: float) -> None:
        tries = self._tries
        while tries:
            oldest = next(iter(tries.values()))
            is_due = oldest.expires_at <= now or len(tries) >= MAX_MESSAGE_IDS
            if not is_due or oldest.outcome is None:
                return  # ids are in the order of their time; one under way is never dropped
            tries.popitem(last=False)
