"""Message ids in Redis: first once over all processes, free again after a refusal or a death."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from fastws.cluster.redis import message_ids as redis_message_ids
from fastws.errors import BrokerUnavailable, OutcomeUnknown, Unavailable
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import PATIENCE_SECONDS, AwaitedReceipt, passes, subscribed
from tests.brokers.small_cluster import Process, processes
from tests.redis_server import RedisServer

DONE = {"sent": 5, "failed": 0, "stale": 0}
KEY = "fastws:message:m1"


async def test_one_process_is_first_and_the_others_get_its_outcome(redis_server: RedisServer) -> None:
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


async def test_an_id_that_redis_stored_after_we_gave_up_can_be_reserved_again(own_redis_server: RedisServer) -> None:
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


DUPLICATE = {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try waits for the first for no time at all."""
    monkeypatch.setattr(redis_message_ids, "WAIT_SECONDS", -1.0)


def publish(process: Process, value: int = 1) -> AwaitedReceipt:
    """As POST /broadcast does after its claim."""
    receipt = AwaitedReceipt()
    process.cluster.publishing("m1")
    process.broker.publish(Publication("news", "e", value), receipt)
    return receipt


@pytest.mark.usefixtures("impatient")
async def test_what_is_published_stays_so_however_long_its_outcome_takes(redis_server: RedisServer) -> None:
    """With a `flush_interval` the outcome may come after the claim has run out."""
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        assert await a.cluster.reserve("m1") is None
        with pytest.raises(Unavailable):
            await b.cluster.reserve("m1")
        await publish(a).outcome()
        with redis_server.client() as client:
            assert client.get(KEY) == b"!node_a"
            assert 290 < client.ttl(KEY) <= 300
        assert await b.cluster.reserve("m1") == DUPLICATE
        assert await a.cluster.reserve("m1") == DUPLICATE
        await a.cluster.record_outcome("m1", DONE)
        assert await b.cluster.reserve("m1") == DONE


@pytest.mark.usefixtures("impatient")
async def test_process_that_dies_after_its_publication_leaves_the_id_taken(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_b") as (b,):
        dying = Process(redis_server.url, "node_a")
        await dying.broker.start()
        await dying.cluster.start()
        assert await dying.cluster.reserve("m1") is None
        await publish(dying).outcome()
        await dying.die()
        assert await b.cluster.reserve("m1") == DUPLICATE


async def test_a_second_try_gets_the_outcome_of_a_first_that_ends_in_time(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        assert await a.cluster.reserve("m1") is None
        await publish(a).outcome()
        other = asyncio.ensure_future(b.cluster.reserve("m1"))
        await a.cluster.record_outcome("m1", DONE)
        assert await other == DONE


@pytest.mark.usefixtures("impatient")
async def test_publication_whose_answer_is_lost_is_not_made_twice(own_redis_server: RedisServer) -> None:
    """Redis stops between request and answer. Whether it was carried out or not, a retry delivers the message once."""
    async with processes(own_redis_server.url, "node_a", "node_b") as (a, b):
        await subscribed(b.broker, b.hub, "news")
        assert await a.cluster.reserve("m1") is None
        own_redis_server.pause()
        receipt = publish(a)
        await asyncio.sleep(0)
        with pytest.raises(OutcomeUnknown):
            await receipt.outcome()
        a.cluster.leave("m1")
        own_redis_server.resume()
        await passes(lambda: a.broker.commander.is_up)
        known = await a.cluster.reserve("m1")
        if known is None:
            await publish(a).outcome()
        else:
            assert known == DUPLICATE
        with own_redis_server.client() as client:
            client.publish("fastws:channel:news", b'{"event":"e","data":"last"}')
        await b.hub.until(lambda: "last" in b.hub.heard["news"])
        assert b.hub.heard["news"].count(1) == 1


async def test_a_process_that_was_delayed_does_not_trust_its_old_reservation(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads that it was first after the entry expired in Redis: another process may have been first since."""
    monkeypatch.setattr(redis_message_ids, "UNDER_WAY_SECONDS", 1)
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        call = a.broker.commander.call
        is_first = True

        async def late(*words: bytes | str | int | float) -> object:
            nonlocal is_first
            reply = await call(*words)
            if is_first:
                is_first = False
                with redis_server.client() as client:
                    client.delete(KEY)
                assert await b.cluster.reserve("m1") is None
                await b.cluster.record_outcome("m1", DONE)
                ended = asyncio.get_running_loop().time() + 0.5
                await passes(lambda: asyncio.get_running_loop().time() >= ended)
            return reply

        monkeypatch.setattr(a.broker.commander, "call", late)
        assert await a.cluster.reserve("m1") == DONE


async def test_what_was_certainly_not_published_is_free_again(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        assert await a.cluster.reserve("m1") is None
        a.cluster.publishing("m1")
        await a.cluster.record_outcome("m1", None)
        assert await b.cluster.reserve("m1") is None


async def test_a_redis_without_memory_is_named_and_logged_once_a_minute(own_redis_server: RedisServer) -> None:
    with capture_logs() as logs:
        async with processes(own_redis_server.url, "node_a") as (a,):
            for number in range(20):
                assert await a.cluster.reserve(f"before{number}") is None
            with own_redis_server.client() as client:
                client.config_set("maxmemory", 1)
            for number in range(20):
                with pytest.raises(BrokerUnavailable, match="Redis is out of memory: raise its maxmemory") as refused:
                    await a.cluster.reserve(f"m{number}")
                assert refused.value.cause.startswith("OOM ")
                await a.cluster.record_outcome(f"before{number}", DONE)
    lines = [line for line in logs if line["event"] == "redis refused a command"]
    assert [line["reason"][:4] for line in lines if line["kind"] == "SET OOM"] == ["OOM "]
    assert len([line for line in logs if line["event"] == "outcome of message_id not stored"]) == 1
