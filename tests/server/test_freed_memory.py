"""When the heap is trimmed, and that the system has the function."""

from __future__ import annotations

import platform

import pytest

from fastws.server.freed_memory import MIN_CLOSED, FreedMemory, trim


class Trims:
    """A server with `connections`, and a count of the trims."""

    def __init__(self) -> None:
        self.connections = 0
        self.count = 0
        self.freed = FreedMemory(lambda: self.connections, self._trim)

    def _trim(self) -> None:
        self.count += 1

    def after(self, connections: int) -> int:
        """The trims so far, when there are `connections` at the next check."""
        self.connections = connections
        self.freed.check()
        return self.count


def test_the_heap_is_trimmed_once_more_than_half_of_many_connections_have_closed() -> None:
    trims = Trims()
    most = 10 * MIN_CLOSED
    assert [trims.after(count) for count in (most, most // 2, most // 2 - 1, 0, 0)] == [0, 0, 1, 2, 2]


def test_few_closed_connections_are_not_worth_it() -> None:
    trims = Trims()
    assert [trims.after(count) for count in (MIN_CLOSED - 1, 0, MIN_CLOSED, 1, 0)] == [0, 0, 0, 0, 1]


def test_another_storm_is_noticed() -> None:
    trims = Trims()
    assert [trims.after(count) for count in (MIN_CLOSED, 0, MIN_CLOSED, 0)] == [0, 1, 1, 2]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is a function of glibc")
def test_glibc_can_trim_its_heap() -> None:
    blocks = [bytes(10_000) for _ in range(2000)]
    last = blocks[-1]
    del blocks
    assert trim()
    assert len(last) == 10_000
