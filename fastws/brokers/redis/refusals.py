"""Redis channels that the ACL forbids: logged once, and tried again with backoff."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

import structlog

from fastws.backoff import Backoff
from fastws.brokers.redis.wire.listener import Names

FIRST_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 15.0
# Channels that are tried again in one sweep.
RETRIES: Final = 256
# Clients choose the names, so the number of log lines is limited. A name that was accepted may be logged again.
MAX_LOGGED: Final = 100

_log = structlog.get_logger("fastws.redis")


class RedisRefusals:
    """The refused channels and the times at which `ask_again` tries them again.

    `clock` returns monotonic seconds. `remedy` is the command, for the log, that allows the channels.
    """

    def __init__(self, ask_again: Callable[[Names], None], clock: Callable[[], float], remedy: str) -> None:
        self._ask_again = ask_again
        self._clock = clock
        self._remedy = remedy
        # Per channel its backoff and the time of its next try; and a heap of all tries by time. An outdated try stays
        # in the heap until its time comes.
        self._waits: dict[Names, tuple[Backoff, float]] = {}
        self._tries: list[tuple[float, Names]] = []
        self._logged: set[bytes] = set()

    def __contains__(self, names: object) -> bool:
        return names in self._waits

    def __len__(self) -> int:
        return len(self._waits)

    def refused(self, names: Names, name: bytes, reason: str) -> None:
        """Redis has refused `name`, one of the `names` of a channel: log it and schedule the next try."""
        known = self._waits.get(names)
        backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, has_jitter=False) if known is None else known[0]
        due = self._clock() + backoff.next_seconds()
        self._waits[names] = (backoff, due)
        heapq.heappush(self._tries, (due, names))
        self.log("SUBSCRIBE", name, reason)

    def log(self, command: str, name: bytes, reason: str) -> None:
        """Log each name once, and at most MAX_LOGGED names until one of them is accepted."""
        if name not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(name)
            text = name.decode(errors="replace")
            _log.error("redis refuses a channel", command=command, channel=text, reason=reason, remedy=self._remedy)

    def forget(self, names: Names) -> None:
        """Do not try `names` again: they are accepted or no longer needed."""
        if self._waits and self._waits.pop(names, None) is not None and not self._waits:
            self._tries.clear()

    def accepted(self, names: Names) -> None:
        """Redis has confirmed `names`. A later refusal is logged again."""
        self.forget(names)
        if self._logged:
            self._logged.difference_update(names)

    def sweep(self, now: float) -> None:
        """Try the channels whose time has come."""
        for _ in range(RETRIES):
            if not self._tries or self._tries[0][0] > now:
                return
            due, names = heapq.heappop(self._tries)
            if names in self._waits and self._waits[names][1] == due:
                self._ask_again(names)
