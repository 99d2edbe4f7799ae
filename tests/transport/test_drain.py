"""How clients leave, on a clock of the test's own: evenly, and no faster than was promised."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from fastws.transport.drain import ANSWER_SECONDS, drain


class VirtualTime(asyncio.SelectorEventLoop):
    """Nothing is waited for: when nothing is left to do, the clock jumps to what is due next."""

    def __init__(self) -> None:
        super().__init__(_NeverWaits())
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined] # asyncio's own
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class _NeverWaits(selectors.SelectSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(0)


class Client:
    def __init__(self, loop: VirtualTime, world: World, *, answers: bool) -> None:
        self._loop = loop
        self._world = world
        self._answers = answers
        self.left_at = -1.0
        self.reason = ""
        self.is_gone = False

    def end(self, code: int, reason: str, *, label: str) -> None:
        assert code == 1012
        self.left_at = self._loop.time()
        self.reason = reason
        self.is_gone = True
        self._world.roster.blocked.discard(self)
        if self._answers:
            self._world.left()


class Roster(list[Client]):
    """All clients, and those whose socket is blocked."""

    def __init__(self, clients: Iterable[Client]) -> None:
        super().__init__(clients)
        self.blocked: set[Client] = set()


class World:
    """The roster, hub, gate and tasks of a server, as far as a drain uses them."""

    def __init__(self, loop: VirtualTime, count: int, *, answers: bool = True) -> None:
        self.roster = Roster(Client(loop, self, answers=answers) for _ in range(count))
        self.is_leaving = self.is_draining = False
        self.flushes = 0
        self._left = count
        self._empty = asyncio.Event()
        self.capacity = self
        self.sockets = 0
        if not count:
            self._empty.set()

    def left(self) -> None:
        self._left -= 1
        if not self._left:
            self._empty.set()

    def close_idle(self) -> None:
        assert self.is_leaving  # or a request that is answered meanwhile would be idle again

    def flush_channels_of(self, client: Client) -> None:
        self.flushes += 1

    async def until_empty(self) -> None:
        await self._empty.wait()

    async def until_done(self) -> None:
        pass


@pytest.fixture
def loop() -> Iterator[VirtualTime]:
    loop = VirtualTime()
    yield loop
    loop.close()


def drained(loop: VirtualTime, world: World, seconds: float) -> float:
    """The time at which the drain of `world` is over."""
    parts: Any = (world.roster, world, world, world.until_done)
    loop.run_until_complete(drain(*parts, seconds=seconds, is_replaced=False))
    return loop.time()


@pytest.mark.parametrize(("count", "seconds"), [(10_000, 8.0), (10, 8.0), (3, 60.0), (1, 8.0)])
def test_in_no_second_more_leave_than_their_share(loop: VirtualTime, count: int, seconds: float) -> None:
    world = World(loop, count)
    over_at = drained(loop, world, seconds)
    times = [client.left_at for client in world.roster]
    share = max(1, -(-count // int(seconds)))
    for start in times[:: max(1, count // 200)]:
        assert sum(start <= at < start + 1 for at in times) <= share + 1
    assert times == sorted(times)
    assert times[0] == 0.0
    assert over_at == times[-1] < seconds
    assert world.is_draining


def test_blocked_clients_leave_first_and_the_others_in_turn(loop: VirtualTime) -> None:
    world = World(loop, 10)
    clients = world.roster
    clients[7].is_gone = True  # it has left by itself
    world.left()
    world.roster.blocked.add(clients[8])
    loop.call_later(2.5, world.roster.blocked.update, {clients[4], clients[9]})
    drained(loop, world, 10.0)
    assert [clients[number].left_at for number in (8, 0, 1)] == [0.0, 1.0, 2.0]
    assert {clients[4].left_at, clients[9].left_at} == {3.0, 4.0}
    assert [clients[number].left_at for number in (2, 3, 5, 6)] == [5.0, 6.0, 7.0, 8.0]
    assert clients[7].left_at == -1.0


def test_the_close_reason_says_within_how_many_seconds_to_reconnect(loop: VirtualTime) -> None:
    world = World(loop, 5)
    drained(loop, world, 8.0)
    assert {client.reason for client in world.roster} == {"restart; reconnect in 0-8 s"}


def test_what_was_accepted_is_written_before_each_close(loop: VirtualTime) -> None:
    world = World(loop, 5)
    drained(loop, world, 8.0)
    assert world.flushes >= 5


def test_without_clients_the_drain_is_over_at_once(loop: VirtualTime) -> None:
    assert drained(loop, World(loop, 0), 60.0) == 0.0


def test_a_client_that_does_not_answer_its_close_delays_the_drain_by_at_most_a_second(loop: VirtualTime) -> None:
    assert drained(loop, World(loop, 5, answers=False), 8.0) == pytest.approx(8.0 + ANSWER_SECONDS)


def test_a_second_drain_does_nothing(loop: VirtualTime) -> None:
    world = World(loop, 2)
    drained(loop, world, 1.0)
    for client in world.roster:
        client.left_at, client.is_gone = -1.0, False
    drained(loop, world, 1.0)
    assert [client.left_at for client in world.roster] == [-1.0, -1.0]
