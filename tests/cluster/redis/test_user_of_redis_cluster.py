"""The user that the documentation names may do all that processes and backends do on a Redis Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from fastws.backend import AsyncRedisBroadcaster, RedisBroadcaster
from fastws.brokers.history import HistoryRules
from fastws.brokers.redis.acl import CLUSTER_COMMANDS, acl_rule
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.cluster.slots import key_slot
from fastws.config import Config
from fastws.doctor.finding import Finding, Verdict
from fastws.doctor.redis_server import check_redis
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import RecordingHub, passes, subscribed
from tests.brokers.redis.documented_user import documented_rule, rights_in_a_cluster
from tests.brokers.redis.topology.test_cluster_history import RULES, joined
from tests.brokers.redis.topology.test_redis_cluster import JOBS, QUICK
from tests.cluster.redis.present import present
from tests.cluster.redis.test_message_ids import publish
from tests.redis_cluster import RedisCluster, until

A, B = "nodeAA", "nodeBB"


def url_of_user(cluster: RedisCluster, *rules: str) -> str:
    for node in cluster.running:
        node.ask("ACL", "SETUSER", "fastws", "reset", *rules)
        node.ask("ACL", "LOG", "RESET")
        node.ask("CONFIG", "RESETSTAT")
    return cluster.url.replace("://", "://fastws:PASSWORD@")


@pytest.fixture
def user_url(redis_cluster: RedisCluster) -> Iterator[str]:
    yield url_of_user(redis_cluster, *documented_rule().split(" ")[3:], *rights_in_a_cluster())
    for node in redis_cluster.running:
        node.ask("ACL", "DELUSER", "fastws")


def denied(cluster: RedisCluster) -> set[str]:
    logs = [node.client.acl_log() for node in cluster.running]
    # redis-py names itself to newer servers, and goes on without.
    return {f"{entry['reason']} {entry['object']}" for log in logs for entry in log} - {"command client|setinfo"}


def look(url: str) -> list[Finding]:
    return list(check_redis(Config(redis_url=url)))


def test_the_rights_are_those_that_the_code_names() -> None:
    assert rights_in_a_cluster() == [f"+{command}" for command in CLUSTER_COMMANDS]
    rule = acl_rule(Config(redis_url="redis+cluster://a"), "fastws", "on", ">PASSWORD")
    assert rule == " ".join((documented_rule(), *rights_in_a_cluster()))


async def test_the_documented_user_may_do_all_that_processes_do(redis_cluster: RedisCluster, user_url: str) -> None:
    async with present(user_url, A, B) as (a, b):
        await passes(lambda: a.cluster.registry.others and b.cluster.registry.others)
        client = b.connect("bob")
        members = [a.join("ann"), b.join("bob")]
        await a.knows(*members)
        await subscribed(b.broker, b.hub, "chat", "workspace:w1")
        assert await a.cluster.describe(client.id) == {"id": client.id, "user": "bob"}
        await a.cluster.revoke(token_id="t1", user="bob")
        await passes(lambda: client.is_revoked)
        slot = key_slot(b"fastws:{chat}:message:m1")
        source = redis_cluster.owner(slot)
        target = next(node for node in redis_cluster.running if node.is_primary() and node is not source)
        redis_cluster.begin_move(slot, source, target)
        first = await publish(a, channel="chat")
        redis_cluster.carry_keys(slot, source, target)
        redis_cluster.end_move(slot, source, target)
        assert await publish(b, channel="chat") == first
        assert b.hub.heard["chat"].count(1) == 1
        a.broker.publish(Publication("workspace:w1", "metrics_update", {"total": 5}))
        with RedisBroadcaster(user_url) as backend:
            await asyncio.to_thread(backend.publish, "chat", "e", 1)
        await b.hub.until(lambda: b.hub.heard["chat"].count(1) == 2 and bool(b.hub.heard["workspace:w1"]))
        b.table.left(members[1], "c")
        await a.knows(members[0])
        await b.broker.topology.stop()
        used = {name for node in redis_cluster.running for name in node.client.info("commandstats")}
    assert denied(redis_cluster) == set()
    assert {f"cmdstat_{command}" for command in CLUSTER_COMMANDS} - {
        "cmdstat_sunsubscribe",
        "cmdstat_pubsub|shardnumsub",
    } <= used


def test_the_doctor_finds_a_good_cluster_good(redis_cluster: RedisCluster, user_url: str) -> None:
    findings = look(user_url)
    primaries = sum(node.is_primary() for node in redis_cluster.running)
    assert findings[0].check == "redis cluster"
    assert findings[0].verdict is Verdict.OK
    permissions = [finding for finding in findings if finding.check == "redis permissions"]
    assert [finding.verdict for finding in permissions] == [Verdict.OK] * primaries
    assert len([finding for finding in findings if finding.check == "redis"]) == primaries
    assert Verdict.FAIL not in {finding.verdict for finding in findings}
    assert not any("PASSWORD" in finding.state for finding in findings)
    replica = redis_cluster.replica_of(next(node for node in redis_cluster.running if node.is_primary()))
    replica.kill()
    until(lambda: "without a replica" in look(user_url)[0].state, "the doctor misses the replica")


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_doctor_names_rights_that_are_missing(redis_cluster: RedisCluster, user_url: str, protocol: int) -> None:
    for node in redis_cluster.running:
        node.ask("ACL", "SETUSER", "fastws", "-spublish", "-ssubscribe", "-asking")
    found = [one for one in look(f"{user_url}?protocol={protocol}") if one.check == "redis permissions"]
    for finding in found:
        assert finding.state == "fastws may not use ASKING, SPUBLISH fastws:doctor, SSUBSCRIBE fastws:doctor"
        assert finding.remedy.endswith("+spublish +ssubscribe +sunsubscribe +asking +cluster|slots +pubsub|shardnumsub")
    assert len(found) >= 3


def test_the_doctor_of_a_cluster_that_is_away_or_none_at_all(redis_cluster: RedisCluster) -> None:
    (finding,) = look("redis+cluster://:secret@127.0.0.1:1")
    assert finding.verdict is Verdict.FAIL
    assert "refused" in finding.state
    assert "secret" not in finding.state
    plain = next(one for one in look(f"redis://127.0.0.1:{redis_cluster.running[0].port}") if one.check == "redis")
    assert "redis+cluster://" in plain.remedy


async def test_the_documented_user_may_keep_a_history(redis_cluster: RedisCluster, user_url: str) -> None:
    hub, other = RecordingHub(), RecordingHub()
    config = Config(redis_url=user_url)
    one, two = (RedisBroker(each, config, timeouts=QUICK, rules=HistoryRules(RULES)) for each in (hub, other))
    for broker in (one, two):
        await broker.start()
        await passes(lambda broker=broker: len(broker.nodes) >= 3 and all(node.is_up for node in broker.nodes))
    try:
        await joined(one, hub, ["chat", JOBS])
        await joined(two, other, ["chat", JOBS])
        one.publish(Publication("chat", "e", 0))
        await other.until(lambda: other.heard["chat"] == [0])
        async with AsyncRedisBroadcaster(user_url) as backend:
            await backend.publish("chat", "e", 1)
            await backend.job_update("j", "done", {"n": 1})
        for each in (hub, other):
            # The first plain message begins a new epoch.
            await each.until(lambda each=each: each.heard["chat"][-1] == 1 and each.heard[JOBS] != [])
            publication = next(one for one in each.publications if one.channel == "chat" and one.offset)
            assert publication.offset
    finally:
        for broker in (one, two):
            await broker.stop()
    assert denied(redis_cluster) == set()
