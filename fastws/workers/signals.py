"""Signals for a selector loop: received between two iterations, never in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterable
from types import FrameType


class SignalInbox:
    """Collects the signals `numbers` of this process; its `fileno` is readable while any are pending."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._signals: list[int] = []
        self._read_end, self._write_end = socket.socketpair()
        for end in (self._read_end, self._write_end):
            end.setblocking(False)  # noqa: FBT003 its only form
        # One byte is enough to wake the selector, so a full buffer is no problem.
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, self._note)

    def fileno(self) -> int:
        return self._read_end.fileno()

    def take(self) -> list[int]:
        """Return the pending signals, oldest first, and forget them."""
        with contextlib.suppress(BlockingIOError):  # its byte was read in the previous iteration
            self._read_end.recv(4096)
        taken, self._signals = self._signals, []
        return taken

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._read_end.close()
        self._write_end.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
