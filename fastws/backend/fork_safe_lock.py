"""A lock for objects that an application may use before and after a fork."""

from __future__ import annotations

import os
from threading import Lock
from types import TracebackType
from typing import Final
from weakref import WeakSet


class ForkSafeLock:
    """A lock that is free in a child process, even if another thread of the parent held it during the fork.

    That thread does not exist in the child, so nothing would ever release the copy of a plain lock.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self.renew()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Replace the lock by a free one."""
        self._lock = Lock()


_locks: Final[WeakSet[ForkSafeLock]] = WeakSet()


def _renew_all() -> None:
    for lock in _locks:
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, where no process forks
    os.register_at_fork(after_in_child=_renew_all)
