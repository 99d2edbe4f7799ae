"""Presence of several processes on a real Redis: all know the same, and repair what Redis or others have lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from fastws.cluster.channel_presence import digest_of
from fastws.cluster.redis.presence import DOUBT, EXPIRY_SECONDS
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.presence import PresenceMember
from tests.brokers.small_cluster import QUICK
from tests.cluster.redis.present import Present, present
from tests.redis_server import RedisServer

A, B, C = "nodeAA", "nodeBB", "nodeCC"
KEY = b"fastws:{c}:presence"
INTERVAL = QUICK.presence_seconds


def stored(server: RedisServer, key: bytes = KEY) -> dict[str, object]:
    """The hash in Redis."""
    with server.client() as client:
        return {field.decode(): orjson.loads(value) for field, value in client.hgetall(key).items()}


def written_commands(server: RedisServer) -> dict[str, int]:
    """How often each command that writes a hash was called."""
    with server.client() as client:
        statistics = client.info("commandstats")
    return {word: statistics.get(f"cmdstat_{word}", {"calls": 0})["calls"] for word in ("hset", "hdel")}


async def test_all_processes_know_all_members_and_are_told_of_changes(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        here = first.join("ann")
        assert [one.connection_id for one in (await first.is_told()).joined or ()] == [here]
        await first.has_written()
        there = second.join("bob")
        await second.knows(here, there)
        await first.knows(here, there)
        update = await first.is_told()
        assert update.joined == [PresenceMember(there, "bob", info=["bob"])]
        assert (update.left, update.count, update.users) == ([], 2, 2)
        # Members that were there before are not news; the figures contain them.
        update = await second.is_told()
        assert ([one.connection_id for one in update.joined or ()], update.count) == ([there], 2)
        second.table.left(there, "c")
        await first.knows(here)
        update = await first.is_told()
        assert ([one.connection_id for one in update.left or ()], update.count) == ([there], 1)


async def test_the_hash_is_documented_and_gone_with_its_last_member(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A) as (first,):
        ids = [first.join("ann"), first.join("")]
        await first.knows(ids[0])
        await first.has_written()
        assert stored(redis_server) == {ids[0]: {"user": "ann", "info": ["ann"]}, ids[1]: {}}
        with redis_server.client() as client:
            assert 0 < client.ttl(KEY) <= EXPIRY_SECONDS
        for one in ids:
            first.table.left(one, "c")
        await first.has_written()
        with redis_server.client() as client:
            assert not client.exists(KEY)
        assert first.presence._mirrors == {}


async def test_the_channel_is_the_hash_tag(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        one = first.join(channel="a{b}%")
        await first.has_written()
        assert set(stored(redis_server, b"fastws:{a%7Bb%7D%25}:presence")) == {one}
        await second.knows(one, channel="a{b}%")


async def test_joining_is_one_write_and_leaving_is_one(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A) as (first,):
        stays = first.join()
        await first.knows(stays)
        await first.has_written()
        before = written_commands(redis_server)
        one = first.join()
        await first.has_written()
        first.table.left(one, "c")
        await first.has_written()
        passing = first.join()
        first.table.left(passing, "c")
        await first.beat()
        await first.beat()
        after = written_commands(redis_server)
        assert (after["hset"] - before["hset"], after["hdel"] - before["hdel"]) == (1, 2)


async def test_counted_channels_store_no_members_and_count_users_of_all_processes(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        ids = [first.join(user, "n") for user in ("ann", "ann", "")]
        other = second.join("ann", "n")
        await first.counts((4, 1), "n")
        await second.counts((4, 1), "n")
        await first.has_written()
        ann = digest_of("ann")
        assert stored(redis_server, b"fastws:{n}:presence") == {f"{A}{ann}": 2, A: 1, f"{B}{ann}": 1}
        first.table.left(ids[0], "n")
        second.table.left(other, "n")
        await first.counts((2, 1), "n")
        assert (await first.page("n")).members is None


async def test_a_process_without_the_channel_answers_page_by_page(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B, C) as (first, second, third):
        ids = sorted([*(first.join() for _ in range(3)), second.join("v")])
        await first.knows(*ids)
        first_page = await third.page(limit=3)
        rest = await third.page(limit=3, cursor=first_page.cursor)
        assert [one.connection_id for one in [*(first_page.members or ()), *(rest.members or ())]] == ids
        assert (first_page.count, first_page.users, rest.cursor) == (4, 2, None)
        assert third.presence._mirrors == {}


async def test_concurrent_questions_cost_one_read(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        one = first.join()
        while not first.table.channels["c"].is_complete:
            await first.has_written()
        with redis_server.client() as client:
            client.config_resetstat()
        pages = await asyncio.gather(*(second.page() for _ in range(50)))
        assert all([member.connection_id for member in page.members or ()] == [one] for page in pages)
        with redis_server.client() as client:
            assert client.info("commandstats")["cmdstat_hscan"]["calls"] == 1


async def settled(*processes: Present) -> tuple[str, str]:
    """Two processes with a member each that know both, and have told so."""
    first, second = processes
    here, there = first.join("ann"), second.join("bob")
    for process in processes:
        await process.knows(here, there)
        await process.has_written()
    await asyncio.sleep(0)
    for process in processes:
        await process.is_told()
        process.told.clear()
    return here, there


async def test_after_flushdb_each_process_writes_its_members_again_and_nobody_has_left(
    redis_server: RedisServer,
) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        with redis_server.client() as client:
            client.flushdb()
        await first.beat()
        assert set(stored(redis_server)) == {here}
        await first.knows(here, there)
        await second.beat()
        assert set(stored(redis_server)) == {here, there}
        with redis_server.client() as client:
            assert 0 < client.ttl(KEY) <= EXPIRY_SECONDS
        for _ in range(3):
            await first.beat()
            await second.beat()
        await first.knows(here, there)
        await second.knows(here, there)
        assert not first.told
        assert not second.told
        assert first.presence._mirrors["c"].missing == {}


async def test_a_member_that_redis_has_lost_for_good_has_left(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        with redis_server.client() as client:
            client.hdel(KEY, there)
        await first.beat()
        assert set(first.presence._mirrors["c"].missing) == {there}
        first.presence._mirrors["c"].checked_at = 0.0
        await first.beat(DOUBT * INTERVAL - 0.01)
        await first.knows(here, there)
        await first.beat()
        await first.knows(here)
        assert [one.connection_id for one in (await first.is_told()).left or ()] == [there]


async def test_an_entry_of_this_process_that_is_not_its_own_is_deleted(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        with redis_server.client() as client:
            client.hset(KEY, A + "g" * 22, b'{"user":"ghost"}')
            client.hset(KEY, "nonsense", b'"nonsense"')
        await first.beat()
        assert set(stored(redis_server)) == {here, there, "nonsense"}
        await second.knows(here, there)
        await first.knows(here, there)


async def test_an_entry_that_its_node_does_not_know_is_deleted_by_it_whoever_finds_it(
    redis_server: RedisServer,
) -> None:
    async with present(redis_server.url, A, B, C) as (first, second, third):
        here, there = await settled(first, second)
        # As in a Redis that was restored to an earlier state. C has no connection in the channel, B has one.
        with redis_server.client() as client:
            for node in (B, C):
                client.hset(KEY, node + "g" * 22, b'{"user":"ghost"}')
        await first.beat()
        await first.knows(here, there)
        await second.knows(here, there)
        assert set(stored(redis_server)) == {here, there}
        assert third.presence._mirrors == {}


async def test_an_own_entry_that_another_node_has_deleted_is_written_again(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        mirror = second.presence._mirrors["c"]
        second.presence._drop(mirror, here)
        mirror.changed[here] = None
        second.presence._write(mirror)
        await second.has_written()
        await second.knows(here, there)
        await first.has_written()
        assert set(stored(redis_server)) == {here, there}


async def test_members_of_a_dead_node_leave_once_it_is_certainly_dead(redis_server: RedisServer) -> None:
    timeouts = replace(QUICK, node_expiry_seconds=0.5)
    async with present(redis_server.url, A, timeouts=timeouts) as (first,):
        async with present(redis_server.url, B, timeouts=timeouts) as (second,):
            here, there = await settled(first, second)
            await second.die()
        registry = first.cluster.registry
        assert registry.is_alive(B)
        async with asyncio.timeout(30):
            while registry.is_alive(B):
                await asyncio.sleep(0.01)
        # Nobody that has no mirror shows it any more, at once; mirrors wait for a second beat.
        assert not registry.is_alive("other!")
        await first.beat()
        await first.knows(here, there)
        await first.beat(1.0)
        await first.knows(here)
        assert set(stored(redis_server)) == {here}
        assert [one.connection_id for one in (await first.is_told()).left or ()] == [there]
        assert first.presence._nodes == first.presence._suspects == {}


async def test_a_process_without_the_channel_shows_no_members_of_a_dead_node(redis_server: RedisServer) -> None:
    timeouts = replace(QUICK, node_expiry_seconds=0.5)
    async with present(redis_server.url, A, timeouts=timeouts) as (first,):
        with redis_server.client() as client:
            client.hset(KEY, B + "x" * 22, b'{"user":"u"}')
        await first.counts((0, 0))


async def test_no_node_is_dead_while_redis_is_away(own_redis_server: RedisServer) -> None:
    timeouts = replace(QUICK, node_expiry_seconds=0.3)
    async with present(own_redis_server.url, A, B, timeouts=timeouts) as (first, second):
        here, there = await settled(first, second)
        own_redis_server.kill()
        async with asyncio.timeout(30):
            while first.cluster.registry.others:
                await asyncio.sleep(0.01)
        for _ in range(3):
            first.now += INTERVAL
            first.presence.beat()
        await first.knows(here, there)
        with pytest.raises(BrokerUnavailable):
            await second.page("a{b}%")
        # A member that leaves and one that comes meanwhile.
        second.table.left(there, "c")
        late = first.join("cid")
        own_redis_server.start()
        new = second.join("dan")
        for process in (first, second):
            async with asyncio.timeout(30):
                while not (process.broker.commander.is_up and process.broker.listener.is_up):
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while set(stored(own_redis_server)) != {here, late, new}:
                await first.beat()
                await second.beat()
        await second.knows(here, late, new)


async def test_writes_that_redis_refused_are_repeated(own_redis_server: RedisServer) -> None:
    async with present(own_redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        with own_redis_server.client() as client:
            client.config_set("maxmemory", 1)
        late = first.join("cid")
        await first.has_written()
        second.table.left(there, "c")
        await second.has_written()
        with own_redis_server.client() as client:
            client.config_set("maxmemory", 0)
        for _ in range(3):
            await first.beat()
            await second.beat()
        await first.knows(here, late)
        assert set(stored(own_redis_server)) == {here, late}
        assert (second.presence._orphans, second.presence._mirrors) == ({}, {})


async def test_a_refused_write_and_a_refused_deletion_are_repeated_though_the_size_is_right(
    own_redis_server: RedisServer,
) -> None:
    async with present(own_redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        with own_redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-hset", "-hdel")
        first.table.left(first.join("bob"), "c")
        late = first.join("cid")
        first.table.left(here, "c")
        second.table.left(there, "c")
        await first.has_written()
        await second.has_written()
        assert set(stored(own_redis_server)) == {here, there}
        assert list(second.presence._orphans)
        with own_redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+hset", "+hdel")
        await first.beat()
        await second.beat()
        assert set(stored(own_redis_server)) == {late}
        assert second.presence._orphans == {}
        await first.knows(late)


async def test_a_refused_deletion_is_repeated_though_nobody_mirrors_the_channel(own_redis_server: RedisServer) -> None:
    async with present(own_redis_server.url, A) as (first,):
        one = first.join()
        await first.knows(one)
        await first.has_written()
        with own_redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-hdel")
        first.table.left(one, "c")
        await first.has_written()
        with own_redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+hdel")
        await first.beat()
        assert stored(own_redis_server) == {}


async def test_a_refused_message_is_repeated_though_the_hash_is_right(own_redis_server: RedisServer) -> None:
    async with present(own_redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        stays = second.join("dan")
        await first.knows(here, there, stays)
        with own_redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-publish")
        late = second.join("cid")
        second.table.left(there, "c")
        await second.has_written()
        assert set(stored(own_redis_server)) == {here, stays, late}
        with own_redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+publish")
        await second.beat()
        await first.knows(here, stays, late)


async def test_a_subscription_that_is_confirmed_during_a_read_is_followed_by_another_read(
    redis_server: RedisServer,
) -> None:
    async with present(redis_server.url, A) as (first,):
        await first.knows(first.join())
        await first.has_written()
        with redis_server.client() as client:
            client.config_resetstat()
        mirror = first.presence._mirrors["c"]
        first.presence._read(mirror)
        first.presence._read(mirror)
        async with asyncio.timeout(30):
            while mirror.is_stale or mirror.arrived is not None:
                await asyncio.sleep(0.01)
        with redis_server.client() as client:
            assert client.info("commandstats")["cmdstat_hscan"]["calls"] == 2


async def test_nonsense_on_the_redis_channel_changes_nothing(redis_server: RedisServer) -> None:
    async with present(redis_server.url, A, B) as (first, second):
        here, there = await settled(first, second)
        rejected = first.broker.counters.feed_rejected
        with redis_server.client() as client:
            for payload in (b"\xc1", b"\x01", b"\x80", b"\x83\xa4node\xa1x\xa6joined\x81\x01\x01\xa4left\x90"):
                client.publish(KEY, payload)
        async with asyncio.timeout(30):
            while rejected["service"] < 4:
                await asyncio.sleep(0.01)
        await first.knows(here, there)
