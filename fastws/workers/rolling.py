"""Rolling restart: replaces the workers one by one; an old worker stops only after the new one is ready."""

from __future__ import annotations

import signal
from collections.abc import Callable

import structlog

from fastws.workers.child import Child
from fastws.workers.slots import Slot

log = structlog.stdlib.get_logger("fastws.workers")


class Rolling:
    """The rolling restart in progress: the slots that wait for it and the current one."""

    def __init__(self, slots: list[Slot], start: Callable[[Slot], Child]) -> None:
        self._slots = slots
        self._start = start
        self._waiting: list[Slot] = []
        self._slot: Slot | None = None
        self._new: Child | None = None

    def begin(self) -> None:
        """Start to replace all workers, also those that an unfinished roll has replaced already."""
        self._waiting = list(self._slots)

    def advance(self, seconds: float) -> None:
        """Take all steps that are possible now. Old workers are killed `seconds` after they are stopped."""
        while self._step(seconds):
            continue

    def _step(self, seconds: float) -> bool:
        """Take one step. Returns whether another may be possible at once."""
        if self._slot is None or self._new is None:
            return self._start_next()
        slot, new = self._slot, self._new
        if new not in slot.children:
            self._stop(slot, new.error or "the new worker exited")
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
        log.info("worker replaced", slot=slot.number, left=len(self._waiting))
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
        log.error(
            "rolling restart stopped: the new worker failed, old workers keep running", slot=slot.number, error=error
        )
        self._slot = self._new = None
        self._waiting.clear()
