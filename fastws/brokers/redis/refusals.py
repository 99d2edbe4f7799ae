"""What Redis's ACL does not let this process subscribe to: logged once, and asked for again with backoff."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

import structlog

from fastws.brokers.redis.wire.listener import Names

FIRST_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 30.0
# Names that are asked for again in one sweep.
RETRIES: Final = 256
# Clients choose names, so the log must not grow with them; a name that was heard may be logged again.
MAX_LOGGED: Final = 100

_log = structlog.get_logger("fastws.redis")


class RedisRefusals:
    """The refused names, and when each is asked for again by `ask_again`. `remedy` is what an operator can do."""

    def __init__(self, ask_again: Callable[[Names], None], clock: Callable[[], float], remedy: str) -> None:
        self._ask_again = ask_again
        self._clock = clock
        self._remedy = remedy
        # How long each waits for its next try and when that is; and the tries in the order of their times. What is no
        # longer so stays in the heap until its time comes.
        self._waits: dict[Names, tuple[float, float]] = {}
        self._tries: list[tuple[float, Names]] = []
        self._logged: set[bytes] = set()

    def __contains__(self, names: object) -> bool:
        return names in self._waits

    def __len__(self) -> int:
        return len(self._waits)

    def refused(self, names: Names, name: bytes, reason: str) -> None:
        """Redis has refused `name`, one of the `names` of a channel."""
        known = self._waits.get(names)
        wait = FIRST_RETRY_SECONDS if known is None else min(2 * known[0], MAX_RETRY_SECONDS)
        due = self._clock() + wait
        self._waits[names] = (wait, due)
        heapq.heappush(self._tries, (due, names))
        self.log("SUBSCRIBE", name, reason)

    def log(self, command: str, name: bytes, reason: str) -> None:
        """Once for each name, and for at most MAX_LOGGED of them until one is heard."""
        if name not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(name)
            text = name.decode(errors="replace")
            _log.error("redis refuses a channel", command=command, channel=text, reason=reason, remedy=self._remedy)

    def forget(self, names: Names) -> None:
        """`names` are heard, or nobody wants them any more."""
        if self._waits and self._waits.pop(names, None) is not None and not self._waits:
            self._tries.clear()

    def heard(self, names: Names) -> None:
        """Redis has confirmed `names`: a later refusal is news."""
        self.forget(names)
        if self._logged:
            self._logged.difference_update(names)

    def sweep(self, now: float) -> None:
        """Ask again for what is due."""
        for _ in range(RETRIES):
            if not self._tries or self._tries[0][0] > now:
                return
            due, names = heapq.heappop(self._tries)
            if names in self._waits and self._waits[names][1] == due:
                self._ask_again(names)
