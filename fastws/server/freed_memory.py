"""Returns memory to the system after many clients have disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

CHECK_SECONDS: Final = 5.0
# Fewer connections are not worth a call: they take about 4 MB.
MIN_CLOSED: Final = 2000


def trim() -> bool:
    """Return free memory of the C library's heap to the system with malloc_trim(3) of glibc.

    Returns False if there was nothing to return, or the C library has no such function.
    """
    try:
        import ctypes  # only a server that has lost many clients needs it, and a small build of Python may lack it

        trim_heap = ctypes.CDLL(None).malloc_trim
    except (ImportError, AttributeError):
        return False
    return bool(trim_heap(0))


class FreedMemory:
    """Trims the heap once more than half of the connections have closed, at least MIN_CLOSED.

    `count` returns the number of open connections.
    """

    def __init__(self, count: Callable[[], int], trim: Callable[[], object] = trim) -> None:
        self._count = count
        self._trim = trim
        # The most connections since the last call of `trim`.
        self._most = 0

    def start(self) -> None:
        """Check now and every CHECK_SECONDS, as long as the loop runs."""
        self.check()
        asyncio.get_running_loop().call_later(CHECK_SECONDS, self.start)

    def check(self) -> None:
        """Trim the heap if enough connections have closed."""
        count = self._count()
        self._most = max(self._most, count)
        if self._most - count >= MIN_CLOSED and count < self._most / 2:
            self._most = count
            self._trim()
