"""Counters of all processes of a run in one memory-mapped file, for the progress line and the closed loop."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final, Self

READY: Final = 0
FAILED: Final = 1
DELIVERIES: Final = 2
PUBLISHED: Final = 3
_COLUMNS: Final = 4
_CELL_BYTES: Final = 8


class Scoreboard:
    """A table of 64-bit counters, one row per process. Each process writes only its own row."""

    def __init__(self, path: str, processes: int) -> None:
        self.path = path
        self._processes = processes
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), processes * _COLUMNS * _CELL_BYTES)
        self._cells = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, processes: int) -> Self:
        """Create the file; `remove` deletes it."""
        handle, path = tempfile.mkstemp(prefix="fastws-bench-")
        os.ftruncate(handle, processes * _COLUMNS * _CELL_BYTES)
        os.close(handle)
        return cls(path, processes)

    def set(self, process: int, column: int, value: int) -> None:
        self._cells[process * _COLUMNS + column] = value

    def total(self, column: int) -> int:
        return sum(self._cells[column::_COLUMNS])

    def total_of_others(self, process: int, column: int) -> int:
        return self.total(column) - self._cells[process * _COLUMNS + column]

    def close(self) -> None:
        self._cells.release()
        self._map.close()

    def remove(self) -> None:
        self.close()
        os.unlink(self.path)
