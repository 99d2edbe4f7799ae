"""Three server processes on one Redis: the same order for all clients, whatever happens to one of the processes."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.end_to_end.followers import (
    Follower,
    following,
    is_slice_of,
    publish_by_http,
    publish_by_redis,
    publish_by_websocket,
    publish_the_last,
)
from tests.hostile.server_process import BROADCAST_KEY, ServerProcess
from tests.redis_server import RedisServer
from tests.workers.supervised import Supervised

MESSAGES = 10_000
NAMES = ("websocket", "http", "redis")
# No client may be disconnected as slow: three readers and three publishers share one Python process.
FLAGS = ("--max-queue-messages", "20000", "--max-queue-bytes", "64000000", "--log-format", "json")
FINISH_SECONDS = 90
# Published when all clients that had to reconnect are back.
AFTERWARDS = range(100)


def numbers_of(name: str) -> range:
    return range(MESSAGES // 3 + (MESSAGES % 3 if name == NAMES[0] else 0))


EVERYTHING = {(name, number) for name in NAMES for number in numbers_of(name)}


async def publish_everything(ports: tuple[int, int], redis_url: str) -> None:
    """Three publish at once: a client of one process, a backend through another, and one directly through Redis."""
    await asyncio.gather(
        publish_by_websocket(ports[0], "websocket", numbers_of("websocket")),
        publish_by_http(ports[1], BROADCAST_KEY, "http", numbers_of("http")),
        publish_by_redis(redis_url, "redis", numbers_of("redis")),
    )
    await publish_the_last(redis_url)


def assert_complete(follower: Follower, *more: tuple[str, int]) -> None:
    heard = follower.heard
    assert len(heard) == MESSAGES + len(more)
    assert set(heard) == EVERYTHING | set(more)
    for name in NAMES:
        own = [number for by, number in heard if by == name]
        assert own == sorted(own)


async def test_every_subscriber_of_every_process_gets_everything_in_the_same_order(redis_server: RedisServer) -> None:
    url = redis_server.url
    with (
        ServerProcess("--redis-url", url, *FLAGS) as first,
        ServerProcess("--redis-url", url, *FLAGS) as second,
        ServerProcess("--redis-url", url, *FLAGS) as third,
    ):
        followers = [
            Follower([process.port], is_msgpack=is_msgpack)
            for process in (first, second, third)
            for is_msgpack in (False, True)
        ]
        async with following(*followers) as tasks, asyncio.timeout(FINISH_SECONDS):
            await publish_everything((first.port, second.port), url)
            await asyncio.gather(*tasks)
        assert_complete(followers[0])
        for follower in followers:
            assert len(follower.segments) == 1
            assert follower.heard == followers[0].heard
        for process in (first, second, third):
            process.assert_clean_log()


@pytest.mark.timeout(240)
async def test_order_holds_while_one_process_is_killed_and_another_is_rolled(redis_server: RedisServer) -> None:
    url = redis_server.url
    with (
        ServerProcess("--redis-url", url, *FLAGS) as untouched,
        Supervised(url, *FLAGS) as rolled,
        ServerProcess("--redis-url", url, *FLAGS) as killed,
    ):
        calm = [Follower([untouched.port], is_msgpack=is_msgpack) for is_msgpack in (False, True)]
        moved = [Follower([rolled.port], is_msgpack=is_msgpack) for is_msgpack in (False, True) * 2]
        homeless = [Follower([killed.port, rolled.port], is_msgpack=is_msgpack) for is_msgpack in (False, True)]

        async def disturb() -> None:
            while len(calm[0].heard) < MESSAGES // 10:
                await asyncio.sleep(0.001)
            rolled.signal(signal.SIGHUP)
            killed.process.kill()
            await asyncio.to_thread(rolled.wait_for, "worker replaced", 2)

        async with following(*calm, *moved, *homeless) as tasks, asyncio.timeout(FINISH_SECONDS):
            disturbing = asyncio.create_task(disturb())
            await asyncio.gather(
                publish_by_websocket(untouched.port, "websocket", numbers_of("websocket")),
                publish_by_http(untouched.port, BROADCAST_KEY, "http", numbers_of("http")),
                publish_by_redis(url, "redis", numbers_of("redis")),
            )
            await disturbing
            count = len(moved) + len(homeless)
            await asyncio.to_thread(rolled.wait_until, lambda: rolled.metric("fastws_subscriptions") == count)
            await publish_by_redis(url, "afterwards", AFTERWARDS)
            await publish_the_last(url)
            await asyncio.gather(*tasks)

        assert_complete(calm[0], *(("afterwards", number) for number in AFTERWARDS))
        whole = calm[0].heard
        position = {item: number for number, item in enumerate(whole)}
        for follower in calm:
            assert len(follower.segments) == 1
            assert follower.heard == whole
        for follower in (*moved, *homeless):
            assert len(follower.segments) >= 2
            # Each connection got a contiguous part of the one order. Between two connections there may be a hole.
            assert all(is_slice_of(segment, whole) for segment in follower.segments)
            assert len(follower.heard) == len(set(follower.heard))
            assert follower.heard == sorted(follower.heard, key=position.__getitem__)
            assert follower.heard[-len(AFTERWARDS) :] == [("afterwards", number) for number in AFTERWARDS]
        assert all(follower.refusals == 0 for follower in (*calm, *moved))
        untouched.assert_clean_log()
        rolled.assert_clean_log()
