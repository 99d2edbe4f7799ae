"""Hashes of presence are read in pages: what Redis and the loop do for each, and that nothing is left out."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.cluster.redis.presence_entries import Change, fields_after
from fastws.cluster.redis.presence_hash import PAGE_FIELDS, FoundEntries, read_hash
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.connection_ids import connection_ids
from tests.brokers.small_cluster import Process
from tests.brokers.tcp_proxy import TcpProxy
from tests.cluster.redis.present import Present, present
from tests.redis_server import RedisServer

A, B, C = "nodeAA", "nodeBB", "nodeCC"
KEY = b"fastws:{c}:presence"
MANY = 20_000


def fill(server: RedisServer, node: str, members: int) -> set[str]:
    """Write members of `node` into the hash, as if it had them."""
    ids = connection_ids(node)
    fields = {next(ids): orjson.dumps({"user": f"u{number}"}) for number in range(members)}
    with server.client() as client:
        client.hset(KEY.decode(), mapping=fields)  # type: ignore[arg-type]
    return set(fields)


def calls(server: RedisServer) -> dict[str, int]:
    """How often commands that read a hash were called."""
    with server.client() as client:
        statistics = client.info("commandstats")
    return {word: statistics.get(f"cmdstat_{word}", {"calls": 0})["calls"] for word in ("hgetall", "hscan", "hkeys")}


async def is_mirrored(process: Present) -> None:
    """Wait until `process` has read the hash of its channel, and has written its own members."""
    async with asyncio.timeout(30):
        while not process.table.channels["c"].is_complete:
            await asyncio.sleep(0.01)
    await process.has_written()


async def read(process: Process, key: bytes = KEY) -> object:
    answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    read_hash(process.broker.commander, key, "members", answered.set_result)
    async with asyncio.timeout(30):
        return await answered


async def test_twenty_thousand_members_are_read_in_pages_and_all_of_them_are_known(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B, C) as (first, second, third):
        others = {second.join(f"u{number}") for number in range(MANY)}
        await is_mirrored(second)
        with redis_server.client() as client:
            client.config_resetstat()
        page = await third.page(limit=1000)
        assert (page.count, page.users, len(page.members or ())) == (MANY, MANY, 1000)
        asked = calls(redis_server)
        assert asked["hgetall"] == asked["hkeys"] == 0
        assert asked["hscan"] > MANY / PAGE_FIELDS / 2
        here = first.join("ann")
        await is_mirrored(first)
        assert first.table.channels["c"].entries.keys() == others | {here}
        assert calls(redis_server)["hgetall"] == 0


async def test_members_who_join_during_a_comparison_cause_no_read(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A) as (first,):
        first.join()
        await is_mirrored(first)
        with redis_server.client() as client:
            client.config_resetstat()
        first.join()  # not written yet
        first.now += first.broker.timeouts.presence_seconds
        first.presence.beat()
        first.join()
        await first.has_written()
        await first.has_written()
        assert calls(redis_server)["hscan"] == 0
        with redis_server.client() as client:
            assert client.info("commandstats")["cmdstat_hlen"]["calls"] == 1
            assert client.hlen(KEY.decode()) == 3


async def test_a_small_hash_is_one_page_and_fields_of_another_form_are_told_apart(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A) as (first,):
        fields = fill(redis_server, B, 3)
        with redis_server.client() as client:
            client.hset(KEY.decode(), "not a connection", "x")
            client.config_resetstat()
        found = await read(first)
        assert isinstance(found, FoundEntries)
        assert (found.entries.keys(), found.foreign) == (fields, {"not a connection"})
        assert found.fields == fields | {"not a connection"}
        assert calls(redis_server)["hscan"] == 1


async def test_a_read_whose_connection_is_lost_is_refused_and_not_continued_elsewhere(
    redis_server: RedisServer,
) -> None:
    """A cursor means nothing to another Redis."""
    fill(redis_server, B, MANY)
    timeouts = RedisTimeouts()
    async with (
        TcpProxy(redis_server.port) as proxy,
        present(proxy.url, A, timeouts=timeouts) as (first,),
    ):
        with redis_server.client() as client:
            client.config_resetstat()
        reading = asyncio.create_task(read(first))
        while not calls(redis_server)["hscan"]:
            await asyncio.sleep(0)
        proxy.cut()
        assert isinstance(await reading, BrokerUnavailable)
        assert calls(redis_server)["hscan"] < MANY / PAGE_FIELDS / 2


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ([], {"a", "b"}),
        ([Change(B, {}, ["a"])], {"b"}),
        ([Change(B, {}, ["a"]), Change(B, {"a": None, "c": None}, [])], {"a", "b", "c"}),  # type: ignore[dict-item]
    ],
)
def test_changes_during_a_read_count(changes: list[Change], fields: set[str]) -> None:
    assert fields_after({"a": 1, "b": 2}, changes) == fields
