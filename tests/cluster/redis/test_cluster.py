"""Several processes on one Redis: figures, single connections, revocations, all answered as by one."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from dataclasses import replace

import msgpack
import pytest

from fastws.cluster.port import Totals
from fastws.cluster.redis import registry
from fastws.cluster.redis.registry import GATHER_SECONDS, PART
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError, RateLimited, TooLarge, Unencodable
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import PATIENCE_SECONDS, AwaitedReceipt, passes, subscribed
from tests.brokers.small_cluster import QUICK, Process, Refusal, processes
from tests.redis_server import RedisServer


async def test_figures_of_all_processes_are_added_up(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b", "node_c") as (a, b, c):
        a.connect("ann", "channels")
        a.connect("ann", "jobs")
        b.connect("ann", "jobs")
        b.connect("bob", "rooms")
        a.hub.subscribers["admin"], a.hub.subscribers["only_a"] = 2, 1
        b.hub.subscribers["admin"] = 3
        await passes(lambda: c.cluster.registry.remote_count("admin") == 5)
        await passes(lambda: c.cluster.registry.connections == 4)
        assert await c.cluster.totals() == Totals(4, 2)
        assert await c.cluster.connections_of("ann") == 3
        assert await c.cluster.dialect_connections("jobs") == 2
        assert await a.cluster.totals() == Totals(4, 2)
        for client in list(b.clients.values()):
            b.roster.remove(client)  # type: ignore[arg-type]
        b.hub.subscribers["admin"] = 0
        await passes(lambda: c.cluster.registry.remote_count("admin") == 2)
        await passes(lambda: c.cluster.registry.connections == 2)
        assert await c.cluster.connections_of("bob") == 0


async def test_sent_counts_the_subscribers_of_all_processes(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        await subscribed(a.broker, a.hub, "admin")
        await subscribed(b.broker, b.hub, "admin")
        b.hub.subscribers["admin"] = 4
        await passes(lambda: a.cluster.registry.remote_count("admin") == 4)
        receipt = AwaitedReceipt()
        a.broker.publish(Publication("admin", "e", 1), receipt)
        assert await receipt.outcome() == (5, 0)


async def test_a_change_is_known_elsewhere_without_waiting_for_the_heartbeat(redis_server: RedisServer) -> None:
    rare = replace(QUICK, heartbeat_seconds=600.0)
    async with processes(redis_server.url, "node_a", "node_b", timeouts=rare) as (a, b):
        await passes(lambda: a.cluster.registry.others)
        for count in (1, 2, 0, 3):
            b.hub.subscribers["admin"] = count
            await passes(lambda count=count: a.cluster.registry.remote_count("admin") == count)  # type: ignore[misc]
        client = b.connect("bob", "jobs")
        await passes(lambda: a.cluster.registry.users == {"bob": 1})
        b.roster.remove(client)  # type: ignore[arg-type]
        await passes(lambda: (a.cluster.registry.users, a.cluster.registry.dialects) == ({}, {}))


async def test_a_burst_of_changes_is_gathered_in_few_messages(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        await passes(lambda: a.cluster.registry.others)
        before = b.cluster.registry._seq
        begun = asyncio.get_running_loop().time()
        for number in range(200):
            b.hub.subscribers["admin"] = number + 1
            await asyncio.sleep(0)
        await passes(lambda: a.cluster.registry.remote_count("admin") == 200)
        seconds = asyncio.get_running_loop().time() - begun
        # A message in each 50 ms, the first at once, and another for those before.
        assert b.cluster.registry._seq - before <= seconds / GATHER_SECONDS + 2


@pytest.mark.parametrize("part", [1, 2, 1000])
async def test_channels_of_several_processes_are_counted_once(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(registry, "PART", part)
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):

        async def all_count(expected: int) -> None:
            await passes(lambda: [p.cluster.registry.channel_count for p in (a, b)] == [expected, expected])

        for name, where in (("x", (a, b)), ("y", (a,)), ("z", (b,))):
            for process in where:
                process.hub.subscribers[name] += 1
        # What has changed here counts before it is sent.
        assert a.cluster.registry.channel_count >= 2
        await all_count(3)
        a.hub.subscribers["x"] = 0
        await all_count(3)
        b.hub.subscribers["x"] = 0
        await all_count(2)
        a.hub.subscribers["z"] = 4
        await all_count(2)
        async with processes(redis_server.url, "node_c") as (c,):
            for name in ("y", "c1", "c2", "c3"):
                c.hub.subscribers[name] = 1
            await all_count(5)
            await passes(lambda: c.cluster.registry.channel_count == 5)
        await all_count(2)
        assert a.cluster.registry.channels == {"z": 1}


async def test_sent_counts_other_processes_without_local_subscribers(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        await subscribed(b.broker, b.hub, "admin")
        await passes(lambda: a.cluster.registry.remote_count("admin") == 1)
        receipt = AwaitedReceipt()
        a.broker.publish(Publication("admin", "e", 1), receipt)
        assert await receipt.outcome() == (1, 0)


async def test_dead_process_is_gone_from_every_figure(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", timeouts=replace(QUICK, node_expiry_seconds=0.5)) as (a,):
        dead = Process(redis_server.url, "node_d")
        await dead.broker.start()
        try:
            await dead.cluster.start()
            dead.connect("bob")
            dead.hub.subscribers["admin"] = 7
            await passes(lambda: a.cluster.registry.remote_count("admin") == 7)
            assert a.cluster.registry.others == ["node_d"]
        finally:
            await dead.die()
        await passes(lambda: a.cluster.registry.others == [])
        assert a.cluster.registry.remote_count("admin") == 0
        assert await a.cluster.totals() == Totals(0, 0)


async def test_process_that_says_goodbye_is_not_forgotten_for_its_silence(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a") as (a,):
        async with processes(redis_server.url, "node_b") as (b,):
            b.connect("bob")
            await passes(lambda: a.cluster.registry.connections == 1)
        await passes(lambda: a.cluster.registry.others == [])


async def test_newcomer_learns_a_large_table_in_parts(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a") as (a,):
        for number in range(2 * PART + 5):
            a.hub.subscribers[f"c{number}"] = 1
        await passes(lambda: a.cluster.registry._sent.channels)  # published before the other node has started
        async with processes(redis_server.url, "node_b") as (b,):
            await passes(lambda: len(b.cluster.registry.channels) == 2 * PART + 5)


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_an_answer_in_parts_that_lacks_one_is_asked_for_again(redis_server: RedisServer, lost: int) -> None:
    """As when the listener is lost between two parts: half a table must not pass for the whole."""
    size = 2 * PART + 5
    async with processes(redis_server.url, "node_a") as (a,):
        for number in range(size):
            a.hub.subscribers[f"c{number}"] = 1
        await passes(lambda: len(a.cluster.registry._sent.channels) == size)
        b = Process(redis_server.url, "node_b")
        take, answers = b.cluster.nodes.notices["figures"], []

        def take_all_but_one(body: object) -> None:
            answers.append(len(answers))
            if answers[-1] != lost:
                take(body)

        # Before it hears the first answer.
        b.cluster.nodes.notices["figures"] = take_all_but_one
        await b.broker.start()
        try:
            await b.cluster.start()
            await passes(lambda: len(answers) >= 4)
            await passes(lambda: len(b.cluster.registry.channels) == size)
        finally:
            await b.cluster.stop()
            await b.broker.stop()


async def test_figures_heal_after_redis_was_replaced(own_redis_server: RedisServer) -> None:
    async with processes(own_redis_server.url, "node_a", "node_b") as (a, b):
        a.hub.subscribers["admin"] = 1
        await passes(lambda: b.cluster.registry.remote_count("admin") == 1)
        own_redis_server.kill()
        a.hub.subscribers["admin"] = 5
        own_redis_server.start()
        await passes(lambda: b.cluster.registry.remote_count("admin") == 5)


async def test_nonsense_on_the_nodes_channels_changes_nothing(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        b.hub.subscribers["admin"] = 1
        await passes(lambda: a.cluster.registry.remote_count("admin") == 1)
        with redis_server.client() as client:
            forged = [
                {"node": "node_b", "seq": True, "channels": {"admin": -1}},
                {"node": "node_x", "seq": 2**63, "channels": {"admin": 2.5}},
                {"kind": "=", "number": 1, "body": None},
                {"kind": "send", "body": ["x", b"\xc1\x01j"], "number": 1, "from": "node_x"},
                {"kind": "page", "body": [1, 2, 3, "x"], "number": {}, "from": None},
                {"kind": "send", "body": ["x", b"\xc1\x01j"]},
                {"tokens": {"t": float("nan")}, "users": {"u": "yesterday"}},
                {"tokens": [1], "users": {"": float("inf"), "u": True}},
            ]
            for payload in (
                *(b"", b"\xc1", b"{}", b"\x81\xa4node\xa6node_b", b"\x80", b"\x93\x01\x02\x03"),
                *map(msgpack.packb, forged),
            ):
                for channel in ("fastws:nodes", "fastws:node:node_a", "fastws:revocations", "fastws:probe:node_a"):
                    assert client.publish(channel, payload) >= 1
        b.hub.subscribers["admin"] = 2
        await passes(lambda: a.cluster.registry.remote_count("admin") == 2)
        assert a.broker.counters.feed_rejected["service"] > 0


async def test_connection_of_another_process_is_found_by_its_id(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        client = b.connect("bob")
        assert await a.cluster.describe(client.id) == {"id": client.id, "user": "bob"}
        receipt = AwaitedReceipt()
        a.cluster.send(client.id, Publication("", "hello", {"n": 1}, sender="me"), receipt)
        assert await receipt.outcome() == (1, 0)
        assert client.taken == [("hello", {"n": 1}, "me")]
        client.queue_is_full = True
        receipt = AwaitedReceipt()
        a.cluster.send(client.id, Publication("", "hello", 1), receipt)
        assert await receipt.outcome() == (0, 1)
        assert await a.cluster.close(client.id)
        assert b.clients == {}
        assert not await a.cluster.close(client.id)
        assert await a.cluster.describe(client.id) is None
        receipt = AwaitedReceipt()
        a.cluster.send(client.id, Publication("", "hello", 1), receipt)
        assert await receipt.outcome() == (0, 0)


async def test_bytes_travel_to_a_connection_of_another_process_as_they_are(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        client = b.connect("bob")
        receipt = AwaitedReceipt()
        a.cluster.send_raw(client.id, b"\xff{}\x00", receipt)
        assert await receipt.outcome() == (1, 0)
        assert client.taken == [("raw", b"\xff{}\x00", None)]
        client.queue_is_full = True
        receipt = AwaitedReceipt()
        a.cluster.send_raw(client.id, b"", receipt)
        assert await receipt.outcome() == (0, 1)
        receipt = AwaitedReceipt()
        a.cluster.send_raw("gone00" + "x" * 22, b"", receipt)
        assert await receipt.outcome() == (0, 0)


@pytest.mark.parametrize("connection_id", ["gone00" + "x" * 22, "short", "", "node_a" + "x" * 22])
async def test_connection_of_no_process_is_gone_at_once(redis_server: RedisServer, connection_id: str) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, _):
        assert await a.cluster.describe(connection_id) is None
        assert not await a.cluster.close(connection_id)
        receipt = AwaitedReceipt()
        a.cluster.send(connection_id, Publication("", "hello", 1), receipt)
        assert await receipt.outcome() == (0, 0)  # long before QUICK.request_seconds


async def test_process_that_does_not_answer_is_given_up_in_time(redis_server: RedisServer) -> None:
    hasty = replace(QUICK, request_seconds=0.2)
    async with processes(redis_server.url, "node_a", "node_b", timeouts=hasty) as (a, b):
        client = b.connect("bob")
        b.cluster.nodes.handlers["describe"] = lambda body: asyncio.get_running_loop().create_future()
        with pytest.raises(BrokerUnavailable):
            await a.cluster.describe(client.id)


async def test_pages_go_through_all_processes_in_the_order_of_ids(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b", "node_c") as members:
        clients = [member.connect(user) for member in members for user in ("ann", "bob", "ann")]
        a = members[1]
        await passes(lambda: len(a.cluster.registry.others) == 2)
        for limit in (1, 2, 4, 9, 100):
            seen, cursor = [], None
            while True:
                page, cursor = await a.cluster.page(user=None, channel=None, cursor=cursor, limit=limit)
                assert len(page) <= limit
                seen += [entry["id"] for entry in page]
                if cursor is None:
                    break
            assert seen == sorted(client.id for client in clients)
        page, cursor = await a.cluster.page(user="ann", channel=None, cursor=None, limit=100)
        assert ([entry["user"] for entry in page], cursor) == (["ann"] * 6, None)
        for client in clients[::3]:
            client.client_id = "phone"
        page, _ = await a.cluster.page(user=None, client_id="phone", channel=None, cursor=None, limit=100)
        assert [entry["id"] for entry in page] == sorted(client.id for client in clients[::3])


async def test_revocation_reaches_every_process_and_later_ones_within_a_second(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        client, other = b.connect("bob"), b.connect("ann")
        await a.cluster.revoke(token_id=None, user="bob")
        await passes(lambda: client.is_revoked)
        assert not other.is_revoked
        await a.cluster.revoke(token_id=f"jti-{other.id}", user=None)
        await passes(lambda: other.is_revoked)
        async with processes(redis_server.url, "node_c") as (c,):
            await passes(lambda: c.revocations.is_revoked(Identity("bob", issued_at=1.0)))
            assert c.revocations.is_revoked(Identity("x", token_id=f"jti-{other.id}"))


async def test_revocations_survive_a_redis_restarted_empty(own_redis_server: RedisServer) -> None:
    async with processes(own_redis_server.url, "node_a") as (a,):
        await a.cluster.revoke(token_id="t1", user=None)
        own_redis_server.restart_empty()
        with own_redis_server.client() as client:
            await passes(lambda: client.zcard("fastws:revoked:tokens") == 1)


async def test_revocations_are_read_as_soon_as_redis_lets_them_be_read(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        now = time.time()
        client.zadd("fastws:revoked:users", {"bob": now, b"\xff\xfe": now})
        client.execute_command("ACL", "SETUSER", "default", "-zrange")  # as a Redis that is still loading answers
        async with processes(own_redis_server.url, "node_a") as (a,):
            await passes(lambda: refused_commands(own_redis_server))
            assert not a.revocations.is_revoked(Identity("bob", issued_at=1.0))
            client.execute_command("ACL", "SETUSER", "default", "+zrange")
            await passes(lambda: a.revocations.is_revoked(Identity("bob", issued_at=1.0)))


def refused_commands(server: RedisServer) -> int:
    """How many ZRANGEs were refused."""
    with server.client() as client:
        figures = client.info("commandstats").get("cmdstat_zrange", {"rejected_calls": 0})
        return int(figures["rejected_calls"])


async def test_a_change_that_redis_refused_reaches_the_others_later(own_redis_server: RedisServer) -> None:
    async with processes(own_redis_server.url, "node_a", "node_b") as (a, b):
        with own_redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-zadd")
            with pytest.raises(BrokerUnavailable):
                await a.cluster.revoke(token_id=None, user="bob")
            assert not b.revocations.is_revoked(Identity("bob", issued_at=1.0))
            client.execute_command("ACL", "SETUSER", "default", "+zadd")
            await passes(lambda: b.revocations.is_revoked(Identity("bob", issued_at=1.0)))


async def test_a_revocation_without_redis_is_effective_here_and_the_error_says_that_others_lack_it(
    own_redis_server: RedisServer,
) -> None:
    async with processes(own_redis_server.url, "node_a") as (a,):
        own_redis_server.pause()
        with pytest.raises(BrokerUnavailable):
            await a.cluster.revoke(token_id=None, user="bob")
        assert a.revocations.is_revoked(Identity("bob", issued_at=1.0))


async def test_last_metrics_are_kept_in_redis_for_a_day(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        update = Publication("workspace:w1", "metrics_update", {"metric_type": "executions", "total": 5})
        receipt = AwaitedReceipt()
        a.broker.publish(update, receipt)
        await receipt.outcome()
        assert await _metrics(b, "workspace:w1", "executions") == {"metric_type": "executions", "total": 5}
        assert await _metrics(b, "workspace:w1", "other") == {}
        await subscribed(b.broker, b.hub, "workspace:w1")
        with redis_server.client() as client:
            client.publish("workspace:w1", b'{"event":"metrics_update","data":{"total":6}}')
            await b.hub.until(lambda: len(b.hub.publications) == 1)
            assert await _metrics(a, "workspace:w1", "default") == {"total": 6}
            assert 86_000 < client.ttl("fastws:metrics:workspace:w1:default") <= 86_400


async def _metrics(process: Process, channel: str, metric_type: str) -> object:
    found: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    process.broker.find_metrics(channel, metric_type, found.set_result)
    from fastws.codec.registry import decoded

    return decoded(await asyncio.wait_for(found, PATIENCE_SECONDS))


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (Unencodable("cannot be said"), BadRequest, "cannot be said"),
        (TooLarge("too much"), TooLarge, "too much"),
        (RateLimited("slowly"), RateLimited, "slowly"),
        (BrokerUnavailable("away"), BrokerUnavailable, "away"),
        (RuntimeError("a secret"), FastWSError, "internal error"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_of_another_process_is_the_same_error_here_and_only_our_own_leave_a_traceback(
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    kind: type[FastWSError],
    text: str,
    is_async: bool,
) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):

        def refuse(body: object) -> object:
            if not is_async:
                raise raised
            future = asyncio.get_running_loop().create_future()
            future.set_exception(raised)
            return future

        b.cluster.nodes.handlers["refuse"] = refuse
        with pytest.raises(FastWSError) as refused:
            await a.cluster.nodes.ask("node_b", "refuse", None)
        assert (type(refused.value), refused.value.message) == (kind, text)
        assert ("Traceback" in caplog.text) is isinstance(raised, RuntimeError)


async def test_an_unencodable_request_is_refused_once_and_leaves_nothing_waiting(
    redis_server: RedisServer,
) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        heard: list[object] = []
        with pytest.raises(Unencodable):
            a.cluster.nodes.request("node_b", "send", [b.connect("u").id, object()], heard.append)
        assert a.cluster.nodes._pending == {}
        assert heard == []


@pytest.mark.parametrize("publication", [Publication("", "\ud800"), Publication("", "e", priority=2**64)])
async def test_a_publication_with_an_unencodable_header_is_refused_and_raises_nothing(
    redis_server: RedisServer, publication: Publication
) -> None:
    async with processes(redis_server.url, "node_a", "node_b") as (a, b):
        refusal = Refusal()
        a.cluster.send(b.connect("u").id, publication, refusal)
        a.broker.publish(dataclasses.replace(publication, channel="c"), refusal)
        assert [type(error) for error in refusal.heard] == [Unencodable, Unencodable]
