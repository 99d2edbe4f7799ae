"""Rolling: every worker is replaced, one after the other; the old one leaves only when the new one is ready."""

from __future__ import annotations

import signal
from collections.abc import Callable

import structlog

from fastws.workers.child import Child
from fastws.workers.slots import Slot

log = structlog.stdlib.get_logger("fastws.workers")


class Rolling:
    """Which slots are still to be rolled, and the one that just is."""

    def __init__(self, slots: list[Slot], start: Callable[[Slot], Child]) -> None:
        self._slots = slots
        self._start = start
        self._waiting: list[Slot] = []
        self._slot: Slot | None = None
        self._new: Child | None = None

    def begin(self) -> None:
        """Roll all, from the first one; whoever was new already is replaced by one that is newer."""
        self._waiting = list(self._slots)

    def go_on(self, seconds: float) -> None:
        """Take the next step, where what it waits for has happened. The old ones have `seconds` to leave."""
        while self._step(seconds):
            continue

    def _step(self, seconds: float) -> bool:
        """Whether a step was taken."""
        if self._slot is None or self._new is None:
            return self._start_next()
        slot, new = self._slot, self._new
        if new not in slot.children:
            self._stop(slot, new.error or "it died")
            return False
        if not new.is_ready:
            return False
        old = [child for child in slot.children if child is not new]
        for child in old:
            if not child.is_leaving:
                child.stop(signal.SIGUSR2, seconds)
        if old:
            return False
        self._slot = self._new = None
        log.info("rolled", slot=slot.number, left=len(self._waiting))
        return True

    def _start_next(self) -> bool:
        if not self._waiting:
            return False
        slot = self._waiting.pop(0)
        try:
            self._slot, self._new = slot, self._start(slot)
        except OSError as error:
            self._stop(slot, str(error))
            return False
        return True

    def _stop(self, slot: Slot, error: str) -> None:
        log.error("rolling stopped: no new worker, the old ones go on", slot=slot.number, error=error)
        self._slot = self._new = None
        self._waiting.clear()
