"""Signals as something that a selector can wait for: they come in between two turns, never in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterable
from types import FrameType


class SignalInbox:
    """Takes the signals `numbers` of this process from now on; readable (`fileno`) while there are any."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._signals: list[int] = []
        self._reading_end, self._writing_end = socket.socketpair()
        for end in (self._reading_end, self._writing_end):
            end.setblocking(False)  # noqa: FBT003 its only form
        # A full pipe wakes up as well as one byte does.
        signal.set_wakeup_fd(self._writing_end.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, self._note)

    def fileno(self) -> int:
        return self._reading_end.fileno()

    def take(self) -> list[int]:
        """Those that have come, in the order in which Python heard of them."""
        with contextlib.suppress(BlockingIOError):  # heard of already in the turn before
            self._reading_end.recv(4096)
        taken, self._signals = self._signals, []
        return taken

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._reading_end.close()
        self._writing_end.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
