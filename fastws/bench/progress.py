"""A progress line on a terminal; prints nothing elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Final, TextIO

WIDTH: Final = 24


class Progress:
    """One line on `stream` (default: stderr) that is overwritten. `clear` removes it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.is_shown = self._stream.isatty()
        self._last = (0.0, 0)

    def show(self, share: float, text: str) -> None:
        """`share` of the work is done (0 to 1)."""
        if not self.is_shown:
            return
        filled = round(WIDTH * min(1.0, max(0.0, share)))
        self._stream.write(f"\r\x1b[2K{'█' * filled}{'░' * (WIDTH - filled)} {text}")
        self._stream.flush()

    def rate(self, count: int) -> float:
        """The growth of `count` per second since the last call."""
        now = time.monotonic()
        then, before = self._last
        self._last = (now, count)
        return (count - before) / (now - then) if then else 0.0

    def clear(self) -> None:
        if self.is_shown:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
