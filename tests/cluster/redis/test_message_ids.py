"""Message ids in Redis: first once over all processes, free again after a refusal or a death."""

from __future__ import annotations

import asyncio

import pytest

from fastws.errors import BrokerUnavailable
from tests.brokers.recording_hub import PATIENCE_SECONDS, passes
from tests.brokers.small_cluster import processes
from tests.redis_server import RedisServer

DONE = {"sent": 5, "failed": 0, "stale": 0}
KEY = "fastws:message:m1"


async def test_one_process_is_first_and_the_others_hear_how_it_ended(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        assert await a.cluster.reserve("m1") is None
        other = asyncio.ensure_future(b.cluster.reserve("m1"))
        assert await b.cluster.reserve("m2") is None
        assert not other.done()
        await a.cluster.record_outcome("m1", DONE)
        assert await other == DONE
        assert await a.cluster.reserve("m1") == DONE
        with redis_server.client() as client:
            assert 290 < client.ttl(KEY) <= 300


async def test_after_a_refusal_another_process_may_try(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        assert await a.cluster.reserve("m1") is None
        other = asyncio.ensure_future(b.cluster.reserve("m1"))
        await a.cluster.record_outcome("m1", None)
        assert await other is None


async def test_a_process_that_dies_meanwhile_blocks_the_id_for_seconds_only(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a") as (a,):
        assert await a.cluster.reserve("m1") is None
        with redis_server.client() as client:
            assert 0 < client.ttl(KEY) <= 10
            client.delete(KEY)
        assert await a.cluster.reserve("m1") is None


async def test_an_id_that_redis_took_after_we_gave_up_is_ours_again(own_redis_server: RedisServer) -> None:
    async with processes(own_redis_server.url, "node_a") as (a,):
        own_redis_server.pause()
        with pytest.raises(BrokerUnavailable):
            await a.cluster.reserve("m1")
        own_redis_server.resume()
        with own_redis_server.client() as client:
            await passes(lambda: client.get(KEY) == b"?node_a")
        assert await asyncio.wait_for(a.cluster.reserve("m1"), PATIENCE_SECONDS) is None
        other = asyncio.ensure_future(a.cluster.reserve("m1"))
        await a.cluster.record_outcome("m1", DONE)
        assert await other == DONE


async def test_an_id_of_which_nothing_more_is_known_is_a_duplicate(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a") as (a,):
        for value in (b"1", b"nonsense", b"[]"):
            with redis_server.client() as client:
                client.set(KEY, value)
            assert await a.cluster.reserve("m1") == {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1}


async def test_without_redis_a_claim_is_refused_and_settling_does_not_raise(own_redis_server: RedisServer) -> None:
    async with processes(own_redis_server.url, "node_a") as (a,):
        assert await a.cluster.reserve("m1") is None
        own_redis_server.kill()
        await a.cluster.record_outcome("m1", DONE)
        await a.cluster.record_outcome("m1", None)
        with pytest.raises(BrokerUnavailable):
            await a.cluster.reserve("m2")
