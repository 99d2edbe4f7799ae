"""Plain messages on a channel with a history, while processes die, pause and lose connections in every order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from fastws.vocabulary.positions import Position
from tests.brokers.redis.simulated import Follower, Process, VirtualLoop, World
from tests.model_runs import runs
from tests.redis_server import RedisServer

Play = Callable[[World], Awaitable[None]]


@pytest.fixture
def run(redis_server: RedisServer) -> Callable[[Play], None]:
    """Runs a play on its own loop and an empty Redis."""

    def run_it(play: Play) -> None:
        with redis_server.client() as client:
            client.flushall()

        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            world = World(redis_server, loop)
            try:
                await play(world)
            finally:
                world.close()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    return run_it


def begin(world: World, count: int) -> list[Follower]:
    """`count` processes with a client each, that all hear the first message; the first process numbers."""
    followers = []
    for _ in range(count):
        followers.append(world.start().subscribe(None, None))
        world.settle()
        if len(followers) == 1:
            world.publish()
            world.settle()
    return followers


def test_the_first_process_numbers_and_all_hear_the_same(run: Callable[[Play], None]) -> None:
    async def play(world: World) -> None:
        one, two = begin(world, 2)
        for _ in range(5):
            world.publish()
        world.settle()
        assert (one.numbers, two.numbers) == ([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6])
        assert one.position == two.position

    run(play)


@pytest.mark.parametrize("seed", range(runs(40)))
def test_nothing_is_lost_while_somebody_listens(run: Callable[[Play], None], seed: int) -> None:
    """Kills, pauses and cuts hit a process only while another one has heard everything: no gap is allowed."""

    async def play(world: World) -> None:
        choose = random.Random(seed)
        everybody = begin(world, 2)
        await world.quiet()

        def spare() -> Process | None:
            """A process that is not the only one to have heard everything."""
            process = choose.choice(world.processes)
            others = [p for p in world.processes if p is not process and p.has_everything and not p.is_paused]
            return process if others else None

        for _ in range(choose.randrange(50, 250)):
            roll = choose.random()
            steps = world.steps()
            if roll < 0.25 or not steps:
                world.publish()
            elif roll < 0.9:
                world.take(choose.choice(steps))
            elif roll < 0.92:
                await world.quiet(choose.choice((0.1, 0.5, 1.0)))
            elif roll < 0.94 and len(world.processes) < 4:
                everybody.append(world.start().subscribe(None, None))
            elif roll < 0.96:
                process = spare()
                # One that fills a hole gives up after 2 s, even if it was paused.
                if process is not None and (process.is_paused or process.has_everything):
                    process.is_paused = not process.is_paused
            elif roll < 0.98:
                process = spare()
                if process is not None and not process.is_paused:
                    process.lose_listener()
                    process.listen()
            elif roll < 0.99:
                choose.choice(world.processes).lose_commander()
            else:
                process = spare()
                if process is not None:
                    world.kill(process)
        for process in world.processes:
            process.is_paused = False
        await world.quiet()
        world.publish()
        await world.quiet()
        living = [follower for process in world.processes for follower in process.followers]
        assert living
        for follower in living:
            assert follower.gaps == 0
            assert follower.numbers[-1] == world.number

    run(play)


@pytest.mark.parametrize("seed", range(runs(40)))
def test_no_position_is_recovered_falsely_whatever_happens(run: Callable[[Play], None], seed: int) -> None:
    """Everything happens to any process, also to all at once. Followers check that only a gap hides a loss."""

    async def play(world: World) -> None:
        choose = random.Random(1000 + seed)
        begin(world, 2)
        known: list[tuple[Position, int]] = []

        def anybody() -> Process:
            return choose.choice(world.processes)

        def come_back(process: Process) -> None:
            past, number = choose.choice(known) if known and choose.random() < 0.8 else (None, None)
            process.subscribe(past, number)

        for _ in range(choose.randrange(50, 300)):
            roll = choose.random()
            steps = world.steps()
            if roll < 0.2 or not steps:
                world.publish()
            elif roll < 0.8:
                world.take(choose.choice(steps))
            elif roll < 0.85:
                await world.wait(choose.choice((0.1, 0.5, 1.0, 3.0)))
            elif roll < 0.88 and len(world.processes) < 4:
                come_back(world.start())
            elif roll < 0.91:
                come_back(anybody())
            elif roll < 0.93:
                process = anybody()
                process.is_paused = not process.is_paused
            elif roll < 0.95:
                process = anybody()
                if process.listener is not None:
                    process.lose_listener()
                else:
                    process.listen()
            elif roll < 0.96:
                anybody().lose_commander()
            elif len(world.processes) > 1 or roll > 0.99:
                process = anybody()
                world.kill(process)
                if not world.processes:
                    world.publish()
                    come_back(world.start())
            known += [
                (follower.position, follower.number)
                for process in world.processes
                for follower in process.followers
                if follower.position is not None and follower.number is not None
            ]
            known = known[-50:]
        for process in world.processes:
            process.is_paused = False
            if process.listener is None:
                process.listen()
        await world.quiet()
        world.publish()
        await world.quiet()
        for process in world.processes:
            assert not process.commander.refusals
            for follower in process.followers:
                assert follower.numbers[-1:] == [world.number], (follower.numbers, follower.gaps, world.number)

    run(play)
