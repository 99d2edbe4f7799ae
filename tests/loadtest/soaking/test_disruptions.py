"""Disruptions come one at a time, and their checks see what is wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import soaking.disruptions
from soaking.disruptions import Disruption, Disruptions, must_recover, ready
from soaking.ledger import Ledger
from soaking.redis_server import FEED_RIGHTS, USER, RedisServer
from soaking.strangers import receives_job_updates

from tests.serving import Serve


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


async def test_one_disruption_at_a_time_each_counted_at_its_end(ledger: Ledger) -> None:
    under_way: list[str] = []
    most = 0
    done = asyncio.Event()

    def make(name: str) -> Disruption:
        async def run() -> None:
            nonlocal most
            under_way.append(name)
            most = max(most, len(under_way))
            await asyncio.sleep(0)
            under_way.remove(name)
            if ledger.tried["a"] and ledger.tried["b"]:
                done.set()

        return Disruption(name, 0.001, run)

    running = asyncio.ensure_future(Disruptions(ledger, random.Random(1)).run([make("a"), make("b")], 0.0))
    await asyncio.wait_for(done.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert most == 1


async def test_finish_waits_for_the_check_under_way_and_starts_no_more(ledger: Ledger) -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    times = 0

    async def run() -> None:
        nonlocal times
        times += 1
        begun.set()
        await end.wait()

    disruptions = Disruptions(ledger, random.Random(1))
    running = asyncio.ensure_future(disruptions.run([Disruption("a", 0.0, run)], 0.0))
    await begun.wait()
    finishing = asyncio.ensure_future(disruptions.finish())
    await asyncio.sleep(0)
    assert not finishing.done()
    end.set()
    await finishing
    await running
    assert (times, ledger.tried["a"]) == (1, 1)


async def test_silence_after_a_disruption_is_a_fault(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking.disruptions, "RECOVERY_SECONDS", 0.05)
    await must_recover(ledger, "a test")
    assert dict(ledger.faults) == {"no recovery": 1}


async def test_messages_that_are_acknowledged_and_delivered_again_are_a_recovery(ledger: Ledger) -> None:
    recovering = asyncio.ensure_future(must_recover(ledger, "a test"))
    await asyncio.sleep(0)
    ledger.counts["acknowledged"] = ledger.counts["received"] = 11
    await asyncio.wait_for(recovering, 30)
    assert not ledger.faults


async def test_ready_says_what_the_server_says(serve: Serve, redis: RedisServer) -> None:
    server = await serve(redis_url=redis.url())
    url = f"ws://127.0.0.1:{server.port}/"
    while not await ready(url):  # it answers before Redis has confirmed
        continue
    redis.kill()
    while await ready(url):
        continue
    assert await ready(url) is False
    assert await ready("ws://127.0.0.1:1/") is None


async def test_feed_is_received_only_with_its_rights(serve: Serve, redis: RedisServer) -> None:
    server = await serve(redis_url=redis.url(limited=True))
    url = f"ws://127.0.0.1:{server.port}/"
    assert not await receives_job_updates(url, redis, 0.5)
    redis.command("ACL", "SETUSER", USER, *FEED_RIGHTS)
    assert await receives_job_updates(url, redis, 30)


def test_redis_becomes_a_replica_and_a_primary_again(redis: RedisServer, tmp_path: Path) -> None:
    other = RedisServer(tmp_path, "other")
    other.start()
    try:
        redis.replicate(other)
        assert redis.command("ROLE")[0] == b"slave"
        redis.replicate(None)
        assert redis.command("ROLE")[0] == b"master"
    finally:
        other.kill()
