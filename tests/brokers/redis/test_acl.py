"""Redis users that may do little: the one that the README documents lacks nothing, others lose what they lack alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from fastws.brokers.redis.acl import acl_rule, channel_rule
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.cluster.port import Outcome
from fastws.codec.registry import decoded
from fastws.config import Config
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import GAP, UNHEARD, AwaitedReceipt, RecordingHub, passes, subscribed
from tests.brokers.redis.documented_user import denied, documented_rule, url_of_documented_user
from tests.brokers.redis.test_broker import running
from tests.brokers.small_cluster import Process, processes
from tests.redis_server import RedisServer

JOBS = "botrix:jobs:updates"
JOB = {"job_id": "1", "status": "done"}


def test_documented_rule_is_the_one_that_the_code_needs() -> None:
    assert documented_rule() == acl_rule(Config(), "fastws", "on", ">PASSWORD")


def test_rules_follow_the_settings_and_take_them_literally() -> None:
    config = Config(redis_prefix="a*[b]:", jobs_channel="jobs?", workspace_channel="w:{workspace_id}:events")
    assert channel_rule(config, "u") == r"ACL SETUSER u &a\*\[b\]:* &jobs\? &w:*:events"
    assert acl_rule(config, "u").startswith(
        r"ACL SETUSER u ~a\*\[b\]:* resetchannels &a\*\[b\]:* &jobs\? &w:*:events +ping "
    )


async def outcome(process: Process, publication: Publication) -> tuple[int, int]:
    receipt = AwaitedReceipt()
    process.broker.publish(publication, receipt)
    return await receipt.outcome()


async def publish_once(process: Process, message_id: str) -> Outcome:
    async def publish(message_id: str) -> Outcome:
        receipt = AwaitedReceipt()
        process.broker.publish(Publication("admin", "e", 1), receipt, message_id)
        return {"sent": (await receipt.outcome())[0]}

    return await process.cluster.once(message_id, "admin", None, publish)


@pytest.mark.parametrize("database", [0, 1])
async def test_documented_user_may_do_all_that_processes_do(redis_server: RedisServer, database: int) -> None:
    url = url_of_documented_user(redis_server, database=database)
    async with processes(url, "node_a", "node_b") as (a, b):
        for channel in ("admin", JOBS, "workspace:w1"):
            await subscribed(b.broker, b.hub, channel)
        client = b.connect("bob")
        await passes(lambda: a.cluster.registry.remote_count("admin") == 1 and a.cluster.registry.users == {"bob": 1})
        for channel, data in (("admin", 1), (JOBS, JOB), ("workspace:w1", 2)):
            assert await outcome(a, Publication(channel, "e", data)) == (1, 0)
            await b.hub.until(lambda channel=channel: bool(b.hub.heard[channel]))
        assert await a.cluster.describe(client.id) == {"id": client.id, "user": "bob"}
        await a.cluster.revoke(token_id="t1", user="bob")
        await passes(lambda: client.is_revoked)
        await a.cluster.revocations.reconcile()
        assert await publish_once(a, "m1") == {"sent": 1}
        assert await publish_once(b, "m1") == {"sent": 1}
        await outcome(a, Publication("workspace:w1", "metrics_update", {"total": 5}))
        found: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        b.broker.find_metrics("workspace:w1", "default", found.set_result)
        assert decoded(await found) == {"total": 5}
        # A new connection closes the old one, if it is still there.
        a.broker.commander.give_up("the test")
        await passes(lambda: a.broker.commander.is_up)
        async with processes(url, "node_c") as (c,):
            await passes(lambda: c.revocations.is_revoked(Identity("bob", issued_at=1.0)))
    assert denied(redis_server) == []


def allow(server: RedisServer, *rules: str) -> str:
    """A user with everything but channels; `rules` allow some."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "live", "on", ">pw", "~*", "+@all", "resetchannels", *rules)
    return server.url.replace("unix://", "unix://live:pw@")


def turned_down(broker: Any, hub: RecordingHub, channel: str, *, stays: bool = False) -> asyncio.Future[str]:
    """Subscribe as a session does: the channel of the error."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def refused(error: BrokerUnavailable) -> None:
        hub.subscribers[channel] += stays
        future.set_result(str(error.channel))

    broker.listen(channel, lambda: future.set_result("ready"), refused)
    return future


@pytest.mark.parametrize("protocol", [2, 3])
async def test_channel_that_the_acl_lacks_is_refused_alone_and_logged_once(
    own_redis_server: RedisServer, protocol: int
) -> None:
    url = allow(own_redis_server, "&fastws:*")
    with capture_logs() as logs:
        async with running(f"{url}?protocol={protocol}") as (broker, hub):
            await subscribed(broker, hub, "news")
            waiting = [asyncio.ensure_future(subscribed(broker, hub, f"c{number}")) for number in range(50)]
            for _ in range(3):
                assert await turned_down(broker, hub, JOBS) == JOBS
            await asyncio.gather(*waiting)
            for channel in ("news", *(f"c{number}" for number in range(50))):
                receipt = AwaitedReceipt()
                broker.publish(Publication(channel, "e", 1), receipt)
                assert await receipt.outcome() == (1, 0)
                assert hub.heard[channel] == [1]
            assert isinstance(broker.refusal(JOBS), BrokerUnavailable)
            assert broker.refusal("news") is None
            assert broker.is_up
            assert broker.counters.broker_reconnects == 0
            receipt = AwaitedReceipt()
            broker.publish(Publication(JOBS, "e", JOB), receipt)
            with pytest.raises(BrokerUnavailable):
                await receipt.outcome()
    refusals = [entry for entry in logs if entry["event"] == "redis refuses a channel"]
    assert [entry["channel"] for entry in refusals] == [JOBS]
    assert refusals[0]["remedy"] == f"ACL SETUSER live &fastws:* &{JOBS} &workspace:*"


async def test_who_stays_hears_with_a_gap_once_the_acl_is_corrected(own_redis_server: RedisServer) -> None:
    url = allow(own_redis_server, "&fastws:*")
    async with running(url) as (broker, hub):
        assert await turned_down(broker, hub, JOBS, stays=True) == JOBS
        allow(own_redis_server, "&fastws:*", f"&{JOBS}")
        await hub.until(lambda: hub.heard[JOBS] == [GAP])
        assert broker.refusal(JOBS) is None
        with own_redis_server.client() as client:
            client.publish(JOBS, b'{"job_id":"1","status":"done","data":{}}')
        await hub.until(lambda: hub.heard[JOBS] == [GAP, {}])
        assert len(broker.refusals) == 0


async def test_subscribers_are_told_once_when_the_acl_is_tightened(own_redis_server: RedisServer) -> None:
    """Redis cuts off who hears a channel that it may not hear any more; each new connection is refused it again."""
    url = allow(own_redis_server, "&*")
    async with running(url) as (broker, hub):
        await subscribed(broker, hub, JOBS, "news")
        allow(own_redis_server, "&fastws:*")
        await hub.until(lambda: hub.heard[JOBS] == [UNHEARD])
        await hub.until(lambda: hub.heard["news"] == [GAP])
        # Asked for again, and refused again: no news.
        refused = asyncio.Event()
        told, broker.listener._on_refused = broker.listener._on_refused, lambda *of: (told(*of), refused.set())
        broker.listener.ask_again(broker.subscriptions._subscriptions[JOBS].names)
        await refused.wait()
        assert hub.heard[JOBS] == [UNHEARD]
        receipt = AwaitedReceipt()
        broker.publish(Publication("news", "e", 1), receipt)
        assert await receipt.outcome() == (1, 0)


async def test_channel_of_which_only_the_feed_may_be_published_on_has_failed_for_its_subscribers(
    own_redis_server: RedisServer,
) -> None:
    """The feed is allowed, our own name beside it is not: what is published reaches others, and no one here."""
    url = allow(own_redis_server, "&fastws:probe:*", f"&{JOBS}")
    async with running(url) as (broker, hub):
        assert await turned_down(broker, hub, JOBS, stays=True) == JOBS
        receipt = AwaitedReceipt()
        broker.publish(Publication(JOBS, "e", JOB), receipt)
        assert await receipt.outcome() == (0, 1)
        # Not left half subscribed.
        await passes(lambda: JOBS.encode() not in own_redis_server.channels())


# A beat would find the probe lost at once.
SUSPICIOUS = RedisTimeouts(probe_seconds=600.0, probe_lost_seconds=0.0)


@pytest.mark.parametrize("rules", [("&fastws:channel:*",), ("&*", "-publish")], ids=["heard", "published"])
async def test_forbidden_probe_ends_no_connection(own_redis_server: RedisServer, rules: tuple[str, ...]) -> None:
    """Not ready, and logged; but what may be heard is heard: other connections would change nothing."""
    with capture_logs() as logs:
        async with running(allow(own_redis_server, *rules), SUSPICIOUS) as (broker, hub):
            await subscribed(broker, hub, "news")
            await passes(lambda: broker.monitor.is_forbidden)
            broker.monitor.beat()
            with own_redis_server.client() as client:
                client.publish("fastws:channel:news", b'{"event":"e","data":1}')
            await hub.until(lambda: hub.heard["news"] == [1])
            assert not broker.is_up
            assert broker.counters.broker_reconnects == 0
    refused = {entry["channel"] for entry in logs if entry["event"] == "redis refuses a channel"}
    assert refused == {f"fastws:probe:{broker.node_id}"}


async def test_registry_that_may_not_publish_says_so_once(own_redis_server: RedisServer) -> None:
    url = allow(own_redis_server, "&fastws:probe:*")
    with capture_logs() as logs:
        async with processes(url, "node_a") as (a,):
            refused = asyncio.Event()
            log, a.broker.commander.log_refusal = a.broker.commander.log_refusal, lambda *of: (log(*of), refused.set())
            for _ in range(3):
                refused.clear()
                await refused.wait()
    lines = [entry for entry in logs if entry["event"] == "redis refused a command"]
    assert [(line["kind"], line["reason"][:6]) for line in lines] == [("PUBLISH NOPERM", "NOPERM")]


async def test_user_that_may_not_subscribe_at_all_is_unavailable_once(own_redis_server: RedisServer) -> None:
    url = allow(own_redis_server, "&*", "-subscribe")
    with capture_logs() as logs:
        async with running(url) as (broker, _):
            await passes(lambda: broker.counters.broker_reconnects >= 4)
            assert not broker.is_up
    lines = [
        (entry["event"], entry["role"]) for entry in logs if entry["event"].startswith("redis ") and "role" in entry
    ]
    assert sorted(lines) == [("redis connected", "commands"), ("redis unavailable", "listener")]


async def test_connection_counts_as_connected_when_redis_has_confirmed_a_channel(redis_server: RedisServer) -> None:
    with capture_logs() as logs:
        async with running(redis_server.url) as (broker, _):
            await passes(lambda: broker.is_up)
    lines = [entry["role"] for entry in logs if entry["event"] == "redis connected"]
    assert sorted(lines) == ["commands", "listener"]
