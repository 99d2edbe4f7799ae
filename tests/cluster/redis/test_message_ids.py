"""Message ids in Redis: published once over all processes, however a try ends, and never lost."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.cluster.port import Outcome
from fastws.cluster.redis import message_ids as redis_message_ids
from fastws.errors import BadRequest, BrokerUnavailable, OutcomeUnknown, Unavailable
from fastws.hub.ports import Receipt
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import AwaitedReceipt, passes, subscribed
from tests.brokers.small_cluster import Client, Process, processes
from tests.brokers.tcp_proxy import TcpProxy
from tests.redis_server import RedisServer

KEY = "fastws:message:m1"
DONE = {"sent": 0, "failed": 0, "stale": 0}
DUPLICATE = {**DONE, "duplicate": 1}
NODES = ("a" * NODE_ID_LENGTH, "b" * NODE_ID_LENGTH)
RULES = {"plain": HistoryRules(), "history": HistoryRules([(None, HistoryRule(100, 60.0))])}
each_kind = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)


async def publish(process: Process, value: int = 1, channel: str = "news") -> Outcome:
    """As POST /broadcast does."""

    async def now(message_id: str) -> Outcome:
        receipt = AwaitedReceipt()
        process.broker.publish(Publication(channel, "e", value), receipt, message_id)
        sent, failed = await receipt.outcome()
        position = receipt.position
        return {"sent": sent, "failed": failed, "stale": 0, **({} if position is None else position._asdict())}

    return await process.cluster.once("m1", channel, None, now)


async def send(process: Process, client: Client, value: int = 1) -> Outcome:
    """As POST /broadcast to a connection does."""

    async def now(message_id: str) -> Outcome:
        receipt = AwaitedReceipt()
        process.cluster.send(client.id, Publication("", "e", value), receipt, message_id)
        sent, failed = await receipt.outcome()
        return {"sent": sent, "failed": failed, "stale": int(not sent and not failed)}

    return await process.cluster.once("m1", None, client.id, now)


async def heard_until_last(process: Process, server: RedisServer, channel: str = "news") -> list[object]:
    """What the process has heard on `channel` of message m1, when something that was published later has come."""
    with server.client() as client:
        client.publish(f"fastws:channel:{channel}", b'{"event":"e","data":"last","ephemeral":true}')
    await process.hub.until(lambda: "last" in process.hub.heard[channel])
    return [value for value in process.hub.heard[channel] if value == 1]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try waits for the outcome of the first for no time at all."""
    monkeypatch.setattr(redis_message_ids, "WAIT_SECONDS", -1.0)


@each_kind
async def test_one_process_is_first_and_the_others_get_its_outcome(
    redis_server: RedisServer, rules: HistoryRules
) -> None:
    async with processes(redis_server.url, *NODES, rules=rules) as (a, b):
        await subscribed(b.broker, b.hub, "news")
        outcomes = await asyncio.gather(*(publish(process) for process in (a, b) * 3))
        assert all(outcome == outcomes[0] for outcome in outcomes)
        assert ("offset" in outcomes[0]) is bool(rules)
        assert await heard_until_last(b, redis_server) == [1]
        with redis_server.client() as client:
            assert 290 < client.ttl(KEY) <= 300


@each_kind
@pytest.mark.parametrize("word", [b"EVALSHA", b"news"])
async def test_a_publication_that_never_reached_redis_is_made_by_the_next_try(
    own_redis_server: RedisServer, rules: HistoryRules, word: bytes
) -> None:
    """The connection is lost while the command is sent: nobody knows the outcome, and nothing was published."""
    async with (
        TcpProxy(own_redis_server.port) as proxy,
        processes(proxy.url, NODES[0], rules=rules) as (a,),
        processes(own_redis_server.url, NODES[1], rules=rules) as (b,),
    ):
        await subscribed(b.broker, b.hub, "news")
        await publish_before(a)
        proxy.cut_at = word
        with pytest.raises(OutcomeUnknown):
            await publish(a)
        assert "duplicate" not in await publish(b)
        assert await heard_until_last(b, own_redis_server) == [1]


@each_kind
@pytest.mark.usefixtures("impatient")
async def test_a_publication_whose_answer_is_lost_is_not_made_again(
    own_redis_server: RedisServer, rules: HistoryRules
) -> None:
    async with (
        TcpProxy(own_redis_server.port) as proxy,
        processes(proxy.url, NODES[0], rules=rules) as (a,),
        processes(own_redis_server.url, NODES[1], rules=rules) as (b,),
    ):
        await subscribed(b.broker, b.hub, "news")
        await publish_before(a)
        proxy.cut_after = b"EVALSHA"
        with pytest.raises(OutcomeUnknown):
            await publish(a)
        await b.hub.until(lambda: 1 in b.hub.heard["news"])
        again = await publish(b)
        assert again["duplicate"] == 1
        if rules:
            with own_redis_server.client() as client:
                top, epoch = client.hmget("fastws:{news}:meta", "top", "epoch")
            assert (again["offset"], again["epoch"]) == (int(top), epoch.decode())
        await passes(lambda: a.broker.commander.is_up)
        assert await publish(a) == again
        assert await heard_until_last(b, own_redis_server) == [1]


async def publish_before(process: Process) -> None:
    """Publish something else, so that scripts are loaded and the numbering is known."""
    receipt = AwaitedReceipt()
    process.broker.publish(Publication("news", "e", "before"), receipt, "before")
    await receipt.outcome()


@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.usefixtures("impatient")
async def test_a_message_to_one_connection_is_delivered_once_too(own_redis_server: RedisServer, is_here: bool) -> None:
    async with (
        TcpProxy(own_redis_server.port) as proxy,
        processes(proxy.url, NODES[0]) as (a,),
        processes(own_redis_server.url, NODES[1]) as (b,),
    ):
        client = (a if is_here else b).connect("ada")
        proxy.cut_at = b"fastws:message"
        with pytest.raises(OutcomeUnknown):
            await send(a, client)
        assert client.taken == []
        await passes(lambda: a.broker.is_up)
        await passes(lambda: b.broker.is_up)
        assert await send(b, client) == {"sent": 1, "failed": 0, "stale": 0}
        assert await send(a, client) == {"sent": 1, "failed": 0, "stale": 0}
        assert len(client.taken) == 1


async def test_a_message_that_its_process_refuses_may_be_sent_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(redis_server.url, *NODES) as (a, b):
        client = b.connect("ada")
        right = b.cluster._local.send

        def refuse(connection_id: str, publication: Publication, receipt: Receipt) -> None:
            receipt.refused(BadRequest("too deep"))

        monkeypatch.setattr(b.cluster._local, "send", refuse)
        with pytest.raises(BadRequest, match="too deep"):
            await send(a, client)
        monkeypatch.setattr(b.cluster._local, "send", right)
        assert (await send(a, client))["sent"] == 1
        assert (await send(b, client))["sent"] == 1
        assert len(client.taken) == 1


async def test_nobody_has_the_connection_that_an_id_from_elsewhere_names(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, NODES[0]) as (a,):
        stale = {"sent": 0, "failed": 0, "stale": 1}
        assert await send(a, Client("?", "ada")) == stale
        assert await send(a, Client("x" * 20, "ada")) == stale
        assert await send(a, Client("x" * 20, "ada")) == stale


@pytest.mark.usefixtures("impatient")
async def test_process_that_dies_after_its_publication_leaves_the_id_taken(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, NODES[1]) as (b,):
        dying = Process(redis_server.url, NODES[0])
        await dying.broker.start()
        await dying.cluster.start()
        receipt = AwaitedReceipt()
        dying.broker.publish(Publication("news", "e", 1), receipt, "m1")
        await receipt.outcome()
        await dying.die()
        with redis_server.client() as client:
            assert client.get(KEY) == b"!" + NODES[0].encode()
        assert await publish(b) == DUPLICATE


async def test_an_id_of_which_nothing_more_is_known_is_a_duplicate(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, NODES[0]) as (a,):
        for value in (b"1", b"nonsense", b"[]"):
            with redis_server.client() as client:
                client.set(KEY, value)
            assert await publish(a) == DUPLICATE


async def test_an_id_that_a_process_of_an_older_version_has_claimed_is_waited_for(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(redis_server.url, NODES[0]) as (a,):
        with redis_server.client() as client:
            client.set(KEY, b"?old")
            waiting = asyncio.ensure_future(publish(a))
            await publish_before(a)
            assert not waiting.done()
            client.delete(KEY)
            assert await waiting == DONE
            client.set(KEY, b"?old")
        monkeypatch.setattr(redis_message_ids, "WAIT_SECONDS", -1.0)
        with pytest.raises(Unavailable):
            await publish(a)


@each_kind
async def test_where_redis_refuses_to_write_or_to_publish_nothing_is_published_and_the_id_stays_free(
    own_redis_server: RedisServer, rules: HistoryRules
) -> None:
    with own_redis_server.client() as client:
        async with processes(own_redis_server.url, *NODES, rules=rules) as (a, b):
            await subscribed(b.broker, b.hub, "news")
            await publish_before(a)
            client.config_set("maxmemory", 1)
            for _ in range(3):
                with pytest.raises(BrokerUnavailable):
                    await publish(a)
            client.config_set("maxmemory", 0)
            assert client.get(KEY) is None
            client.execute_command("ACL", "SETUSER", "default", "-publish")
            with pytest.raises(BrokerUnavailable):
                await publish(a)
            assert client.get(KEY) is None
            client.execute_command("ACL", "SETUSER", "default", "+publish")
            assert "duplicate" not in await publish(a)
            assert await heard_until_last(b, own_redis_server) == [1]


@each_kind
async def test_scripts_that_redis_has_forgotten_are_loaded_again(
    own_redis_server: RedisServer, rules: HistoryRules
) -> None:
    async with processes(own_redis_server.url, NODES[0], rules=rules) as (a,):
        await publish_before(a)
        with own_redis_server.client() as client:
            client.script_flush()

        async def succeeds() -> bool:
            try:
                return "duplicate" not in await publish(a)
            except BrokerUnavailable:
                return False

        async with asyncio.timeout(30):
            while not await succeeds():
                await asyncio.sleep(0.01)


async def test_without_redis_it_is_refused_and_an_outcome_that_is_not_stored_costs_nothing(
    own_redis_server: RedisServer,
) -> None:
    with capture_logs() as logs:
        async with processes(own_redis_server.url, NODES[0]) as (a,):

            async def then_redis_dies(message_id: str) -> Outcome:
                own_redis_server.kill()
                return DONE

            assert await a.cluster.once("m1", "news", None, then_redis_dies) == DONE
            with pytest.raises(BrokerUnavailable):
                await publish(a)
    assert len([line for line in logs if line["event"] == "outcome of message_id not stored"]) == 1


async def test_a_redis_without_memory_is_named_and_logged_once_a_minute(own_redis_server: RedisServer) -> None:
    with capture_logs() as logs:
        async with processes(own_redis_server.url, NODES[0]) as (a,):
            with own_redis_server.client() as client:
                client.config_set("maxmemory", 1)
            for _ in range(20):
                with pytest.raises(BrokerUnavailable, match="Redis is out of memory: raise its maxmemory") as refused:
                    await publish(a)
                assert refused.value.cause.startswith("OOM ")
    lines = [line for line in logs if line["event"] == "message from redis rejected"]
    assert len(lines) == 1
