"""Rolling restart: starts all new workers one by one; then all old ones stop, and their clients move once."""

from __future__ import annotations

import signal
from collections.abc import Callable

import structlog

from fastws.workers.child import Child
from fastws.workers.slots import Slot

log = structlog.stdlib.get_logger("fastws.workers")


class Rolling:
    """The rolling restart in progress.

    No old worker stops before all new ones are ready: a client that is moved never connects to another old worker,
    which would move it again. `is_active` until the last old worker has exited.
    """

    def __init__(self, slots: list[Slot], start: Callable[[Slot], Child]) -> None:
        self._slots = slots
        self._start = start
        # Slots whose new worker is still to be started.
        self._waiting: list[Slot] = []
        # The new workers of this roll, in the order of their start.
        self._new: list[Child] = []
        # Slots whose old workers have not exited yet.
        self._old: list[Slot] = []

    @property
    def is_active(self) -> bool:
        return bool(self._waiting or self._new or self._old)

    def begin(self) -> None:
        """Start to replace all workers, also those that an unfinished roll has started already."""
        self._waiting, self._new, self._old = list(self._slots), [], []

    def advance(self, seconds: float) -> None:
        """Take all steps that are possible now. Old workers are killed `seconds` after they are stopped."""
        if self._old:
            self._note_replaced()
            return
        running = [child for slot in self._slots for child in slot.children]
        failed = next((child for child in self._new if child not in running), None)
        if failed is not None:
            self._abort(failed.slot, failed.error or failed.not_forked or "the new worker exited", seconds)
        elif all(child.is_ready for child in self._new):
            if self._waiting:
                self._start_next(seconds)
            elif self._new:
                self._hand_over(seconds)

    def _start_next(self, seconds: float) -> None:
        slot = self._waiting.pop(0)
        try:
            self._new.append(self._start(slot))
        except OSError as error:
            self._abort(slot.number, str(error), seconds)

    def _hand_over(self, seconds: float) -> None:
        """Stop all old workers: from now on only new ones accept connections."""
        for slot in self._slots:
            for child in slot.children:
                if child not in self._new and not child.is_leaving:
                    child.stop(signal.SIGUSR2, seconds)
        self._old = list(self._slots)
        self._note_replaced()

    def _note_replaced(self) -> None:
        """Log the slots whose old workers have exited."""
        for slot in list(self._old):
            if all(child in self._new for child in slot.children):
                self._old.remove(slot)
                log.info("worker replaced", slot=slot.number, left=len(self._old))
        if not self._old:
            self._new = []

    def _abort(self, number: int, error: str, seconds: float) -> None:
        """Stop the new workers of this roll; the old ones have never stopped to listen."""
        log.error("rolling restart stopped: the new worker failed, old workers keep running", slot=number, error=error)
        for slot in self._slots:
            serving = [child for child in slot.children if not child.is_leaving]
            for child in serving:
                # The new worker of a slot whose old one has exited meanwhile stays.
                if child in self._new and len(serving) > 1:
                    child.stop(signal.SIGUSR2, seconds)
        self._waiting, self._new = [], []
