"""The end of a broadcaster: who closes what, and on which event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastws.backend.lifetime import ClientOfLoop, ClientOfProcess, ClosedOnAsyncExit, ClosedOnExit


class Client:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


def test_a_loop_keeps_its_client_and_another_loop_gets_its_own() -> None:
    owner = ClientOfLoop(Client)

    async def get_twice() -> tuple[Client, Client]:
        return owner.get(), owner.get()

    first, again = asyncio.run(get_twice())
    second, _ = asyncio.run(get_twice())
    assert first is again
    assert second is not first
    assert (first.closed, second.closed) == (0, 0)


def test_a_client_is_closed_once_and_only_on_its_own_loop() -> None:
    owner = ClientOfLoop(Client)

    async def get() -> Client:
        return owner.get()

    foreign = asyncio.run(get())
    asyncio.run(owner.aclose())
    assert foreign.closed == 0

    async def close_twice() -> tuple[Client, Client]:
        client = owner.get()
        await owner.aclose()
        await owner.aclose()
        return client, owner.get()

    own, next_one = asyncio.run(close_twice())
    assert own is not foreign
    assert own.closed == 1
    assert next_one is not own


class Closed(ClosedOnExit, ClosedOnAsyncExit):
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 10


def test_leaving_the_block_closes_even_after_an_error() -> None:
    broadcaster = Closed()
    with broadcaster as entered:
        assert entered is broadcaster
    assert broadcaster.closed == 1
    with pytest.raises(ZeroDivisionError), broadcaster:
        1 / 0  # noqa: B018
    assert broadcaster.closed == 2


async def test_leaving_the_asynchronous_block_closes_even_after_an_error() -> None:
    broadcaster = Closed()
    async with broadcaster as entered:
        assert entered is broadcaster
    assert broadcaster.closed == 10
    with pytest.raises(ZeroDivisionError):
        async with broadcaster:
            1 / 0  # noqa: B018
    assert broadcaster.closed == 20


class Pid:
    """Stands for os.getpid. A test changes its result."""

    current = 1

    def __call__(self) -> int:
        return self.current


@pytest.fixture
def pid(monkeypatch: pytest.MonkeyPatch) -> Pid:
    pid = Pid()
    monkeypatch.setattr(os, "getpid", pid)
    return pid


class Blocking:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_process_keeps_its_client_and_its_child_gets_its_own(pid: Pid) -> None:
    owner = ClientOfProcess(Blocking)
    parents = owner.get()
    assert owner.get() is parents
    pid.current = 2
    assert owner.get() is owner.get() is not parents
    assert parents.closed == 0


def test_a_client_is_closed_once_and_only_by_its_own_process(pid: Pid) -> None:
    owner = ClientOfProcess(Blocking)
    owner.close()
    first = owner.get()
    owner.close()
    owner.close()
    second = owner.get()
    assert first.closed == 1
    assert second is not first
    pid.current = 2
    owner.close()
    assert second.closed == 0


def test_threads_whose_first_calls_coincide_share_one_client() -> None:
    ready = threading.Barrier(8)
    owner = ClientOfProcess(Blocking)

    def get(_: int) -> Blocking:
        ready.wait()
        return owner.get()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(map(id, threads.map(get, range(8))))) == 1
