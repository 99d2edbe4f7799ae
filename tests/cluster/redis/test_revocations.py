"""Revocations in Redis: lost ones are restored; if none is lost, a check costs two counts."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from fastws.access.revocation import CLOCK_SECONDS, PAGE
from fastws.codec.msgpack_binary import MSGPACK
from fastws.vocabulary.identity import Identity
from tests.brokers.recording_hub import passes
from tests.brokers.small_cluster import QUICK, processes
from tests.redis_server import RedisServer

DAY = 24 * 3600.0
COMPARES_OFTEN = replace(QUICK, revocations_seconds=0.05)
NEVER_COMPARES = replace(QUICK, revocations_seconds=600.0)
TOKENS = "fastws:revoked:tokens"
USERS = "fastws:revoked:users"


def calls(server: RedisServer, command: str) -> int:
    """How often `command` was carried out."""
    with server.client() as client:
        return int(client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize("loss", ["FLUSHDB", f"DEL {TOKENS}", f"DEL {USERS}", f"ZREM {TOKENS} t2"])
async def test_revocations_that_redis_has_lost_are_restored(redis_server: RedisServer, loss: str) -> None:
    async with processes(redis_server.url, "node_a", "node_b", timeouts=COMPARES_OFTEN) as (a, _):
        for token in ("t1", "t2"):
            await a.cluster.revoke(token_id=token, user=None)
        await a.cluster.revoke(token_id=None, user="bob")
        with redis_server.client() as client:
            tables = [client.zrange(key, 0, -1, withscores=True) for key in (TOKENS, USERS)]
            client.execute_command(*loss.split())
            await passes(
                lambda: [client.zrange(key, 0, -1, withscores=True) for key in (TOKENS, USERS)] == tables,
            )
        async with processes(redis_server.url, "node_c") as (c,):
            await passes(lambda: c.revocations.is_revoked(Identity("bob", issued_at=1.0)))
            assert c.revocations.is_revoked(Identity("x", token_id="t2"))


async def test_revocations_that_a_process_has_missed_are_found_by_their_number(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", timeouts=COMPARES_OFTEN) as (a,):
        client = a.connect("bob")
        with redis_server.client() as redis:
            redis.zadd(USERS, {"bob": time.time()})
        await passes(lambda: client.is_revoked)


async def test_while_nothing_is_lost_nothing_is_read(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b", timeouts=COMPARES_OFTEN) as (a, b):
        await a.cluster.revoke(token_id="t1", user=None)
        await a.cluster.revoke(token_id="short", user=None, expires_at=time.time() + 1)
        await passes(lambda: len(b.revocations) == 2)
        checks, read = calls(redis_server, "zcount"), calls(redis_server, "zrange")
        await passes(lambda: calls(redis_server, "zcount") > checks + 20)
        # One that was under way as the revocation came may have found a difference.
        assert calls(redis_server, "zrange") <= read + 4


async def test_large_tables_travel_in_pages(redis_server: RedisServer) -> None:
    now = time.time()
    tokens = {f"t{number}": now + DAY + number for number in range(2 * PAGE + 5)}
    with redis_server.client() as client:
        client.zadd(TOKENS, tokens)
        async with processes(redis_server.url, "node_a", timeouts=NEVER_COMPARES) as (a,):
            assert a.revocations.snapshot()["tokens"] == pytest.approx(tokens)
            client.flushdb()
            await a.cluster.revocations.check()
            assert client.zcard(TOKENS) == len(tokens)
            assert dict(client.zrange(TOKENS, 0, 0, withscores=True)) == {b"t0": pytest.approx(now + DAY)}


async def test_a_redis_that_returns_empty_is_filled_again_at_once(own_redis_server: RedisServer) -> None:
    async with processes(own_redis_server.tcp_url, "node_a", timeouts=NEVER_COMPARES) as (a,):
        await a.cluster.revoke(token_id="t1", user="bob")
        own_redis_server.restart_empty()
        with own_redis_server.client() as client:
            await passes(lambda: client.zscore(TOKENS, "t1") and client.zscore(USERS, "bob"))


async def test_a_process_that_learns_of_fewer_revocations_restores_them(redis_server: RedisServer) -> None:
    """The counts are the same where another process has put back a revocation that it knows for less long."""
    async with processes(redis_server.url, "node_a", timeouts=NEVER_COMPARES) as (a,):
        await a.cluster.revoke(token_id="t1", user="bob", expires_at=time.time() + 90 * DAY)
        with redis_server.client() as client:
            scores = [client.zscore(TOKENS, "t1"), client.zscore(USERS, "bob")]
            for key, name, table in ((TOKENS, "t1", "tokens"), (USERS, "bob", "users")):
                client.zadd(key, {name: scores[0] - 80 * DAY if table == "tokens" else scores[1] - 10})
            less = {"tokens": {"t1": scores[0] - 80 * DAY}, "users": {"bob": scores[1] - 10}}
            client.publish("fastws:revocations", MSGPACK.dumps(less))
            await passes(lambda: [client.zscore(TOKENS, "t1"), client.zscore(USERS, "bob")] == scores)


async def test_token_is_kept_until_its_own_end_which_may_be_learned_later(redis_server: RedisServer) -> None:
    now = time.time()
    async with processes(redis_server.url, "node_a", "node_b", timeouts=COMPARES_OFTEN) as (a, b):
        await a.cluster.revoke(token_id="known", user=None, expires_at=now + 90 * DAY)
        await a.cluster.revoke(token_id="seen", user=None)
        await passes(lambda: len(b.revocations) == 2)
        assert b.revocations.is_revoked(Identity("u", token_id="seen", expires_at=now + 50 * DAY))
        with redis_server.client() as client:
            assert client.zscore(TOKENS, "known") == pytest.approx(now + 90 * DAY + 30 + CLOCK_SECONDS)
            await passes(lambda: client.zscore(TOKENS, "seen") > now + 50 * DAY)
        await passes(lambda: a.revocations.snapshot()["tokens"]["seen"] > now + 50 * DAY)


@pytest.mark.parametrize("nonsense", [{"tokens": {1: 2.0}}, {"tokens": {"t": "soon"}}, {"users": []}, []])
async def test_nonsense_is_rejected_and_counted(redis_server: RedisServer, nonsense: object) -> None:
    async with processes(redis_server.url, "node_a", timeouts=NEVER_COMPARES) as (a,):
        with redis_server.client() as client:
            client.publish("fastws:revocations", MSGPACK.dumps(nonsense))
        await passes(lambda: a.broker.counters.feed_rejected["service"] == 1)
        assert len(a.revocations) == 0
