"""What the doctor says of real Redis servers, good and bad."""

from __future__ import annotations

import pytest

from fastws.brokers.redis.acl import acl_rule
from fastws.config import Config
from fastws.doctor import redis_server as redis_server_checks
from fastws.doctor.finding import Finding, Verdict
from fastws.doctor.redis_server import buffer_finding, check_redis, clock_finding, memory_finding
from tests.brokers.redis.documented_user import url_of_documented_user
from tests.name_server import NameServer
from tests.ports import free_port
from tests.redis_sentinel import SentinelSetUp
from tests.redis_server import RedisServer


def look(url: str | None, **settings: object) -> dict[str, Finding]:
    findings = check_redis(Config(redis_url=url, **settings))  # type: ignore[arg-type]
    return {finding.check: finding for finding in findings}


def test_a_good_redis_is_named_with_its_version(redis_server: RedisServer) -> None:
    findings = look(redis_server.url)
    assert list(findings) == [
        "redis",
        "redis permissions",
        "redis memory",
        "redis output buffer",
        "redis maxclients",
        "clock",
        "redis latency",
    ]
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}
    with redis_server.client() as client:
        assert client.info()["redis_version"] in findings["redis"].state
    assert "32 MB" in findings["redis output buffer"].state


def test_no_redis_is_needed() -> None:
    assert [finding.verdict for finding in look(None).values()] == [Verdict.OK]


@pytest.mark.parametrize("password", ["", ":hunter2@"])
def test_a_redis_that_is_not_there_fails_and_no_password_is_shown(password: str) -> None:
    (finding,) = look(f"redis://{password}127.0.0.1:{free_port()}/0").values()
    assert finding.verdict is Verdict.FAIL
    assert "refused" in finding.state
    assert "hunter2" not in finding.state + finding.remedy


def test_a_silent_name_server_is_waited_for_a_bounded_time(
    name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server_checks, "CONNECT_SECONDS", 0.05)
    (finding,) = look("redis://:hunter2@redis.example:6379/0").values()
    assert finding.verdict is Verdict.FAIL
    assert finding.state == "redis://redis.example:6379/0: the name server does not answer"


def test_a_wrong_password_fails(own_redis_server: RedisServer) -> None:
    own_redis_server.require_password("right")
    (finding,) = look(f"redis://:hunter2@127.0.0.1:{own_redis_server.port}/0").values()
    assert finding.verdict is Verdict.FAIL
    assert "hunter2" not in finding.state


def test_small_limits_are_found(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 1")
        client.config_set("maxclients", 40)
    findings = look(own_redis_server.url, workers=30)
    assert findings["redis output buffer"].verdict is Verdict.WARN
    assert "pubsub 256mb" in findings["redis output buffer"].remedy
    assert findings["redis maxclients"].verdict is Verdict.FAIL


def test_a_replica_fails(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
    finding = look(own_redis_server.url)["redis"]
    assert finding.verdict is Verdict.FAIL
    assert "replica" in finding.state


def test_a_redis_that_does_not_answer_config_is_a_warning(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-config")
    findings = look(f"redis://app:pw@127.0.0.1:{own_redis_server.port}/0")
    assert findings["redis"].verdict is Verdict.OK
    assert findings["redis output buffer"].verdict is Verdict.WARN


def test_no_limit_at_all_is_a_warning() -> None:
    finding = buffer_finding("normal 0 0 0 slave 1 1 1 pubsub 0 0 0")
    assert finding.verdict is Verdict.WARN
    assert "memory" in finding.state


@pytest.mark.parametrize(
    ("skew", "verdict", "word"),
    [(0.2, Verdict.OK, "behind"), (-0.2, Verdict.OK, "ahead of"), (5, Verdict.WARN, ""), (-31, Verdict.FAIL, "")],
)
def test_clocks_may_differ_by_a_second(skew: float, verdict: Verdict, word: str) -> None:
    finding = clock_finding(skew, 30.0)
    assert finding.verdict is verdict
    assert word in finding.state


def test_documented_user_is_all_that_is_needed(own_redis_server: RedisServer) -> None:
    findings = look(url_of_documented_user(own_redis_server))
    assert findings["redis"].verdict is Verdict.OK
    assert findings["redis permissions"].verdict is Verdict.OK
    with own_redis_server.client() as client:
        assert client.keys() == []


@pytest.mark.parametrize(
    ("rules", "verdict", "state"),
    [
        (("resetchannels", "&fastws:*"), Verdict.FAIL, "SUBSCRIBE botrix:jobs:updates, SUBSCRIBE workspace:doctor"),
        (("-publish", "-set"), Verdict.FAIL, "PUBLISH, SET"),
        (
            ("resetkeys",),
            Verdict.FAIL,
            "ZADD, ZCOUNT, ZRANGE, ZREMRANGEBYSCORE, HSET, HDEL, HSCAN, HLEN, EXPIRE, SET, GET, DEL",
        ),
        (("-role", "-client"), Verdict.WARN, "ROLE, CLIENT"),
    ],
)
def test_what_the_acl_lacks_is_named_with_the_rule_that_allows_it(
    own_redis_server: RedisServer, rules: tuple[str, ...], verdict: Verdict, state: str
) -> None:
    url = url_of_documented_user(own_redis_server)
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "fastws", *rules)
    finding = look(url)["redis permissions"]
    assert finding.verdict is verdict
    assert state in finding.state
    assert finding.remedy == acl_rule(Config(), "fastws")


def test_replica_is_found_by_its_role_where_info_is_not_allowed(own_redis_server: RedisServer) -> None:
    url = url_of_documented_user(own_redis_server)
    with own_redis_server.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
    assert look(url)["redis"].verdict is Verdict.FAIL


def test_what_a_limited_user_cannot_find_out_is_a_warning(own_redis_server: RedisServer) -> None:
    url = url_of_documented_user(own_redis_server)
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "fastws", "-role", "-info")
    findings = look(url)
    for check in ("redis", "redis memory", "redis output buffer", "redis maxclients"):
        assert findings[check].verdict is Verdict.WARN, check
        assert "cannot tell" in findings[check].state


def test_a_redis_that_works_but_forbids_ping_needs_no_start(own_redis_server: RedisServer) -> None:
    url = url_of_documented_user(own_redis_server)
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "fastws", "-ping")
    (finding,) = look(url).values()
    assert finding.verdict is Verdict.FAIL
    assert finding.remedy == acl_rule(Config(), "fastws")


def test_a_redis_that_stops_answering_during_the_checks_is_a_finding(own_redis_server: RedisServer) -> None:
    found = check_redis(Config(redis_url=own_redis_server.url))
    assert next(found).verdict is Verdict.OK
    own_redis_server.kill()
    *_, last = found
    assert last.verdict is Verdict.FAIL
    assert "does not answer" in last.state


@pytest.mark.parametrize(
    ("used", "limit", "policy", "verdict", "word"),
    [
        (5 << 20, 0, "noeviction", Verdict.OK, "no maxmemory"),
        (5 << 20, 100 << 20, "noeviction", Verdict.OK, "5 MB of 100 MB"),
        (89 << 20, 100 << 20, "noeviction", Verdict.OK, ""),
        (90 << 20, 100 << 20, "noeviction", Verdict.WARN, "when it is full"),
        (100 << 20, 100 << 20, "noeviction", Verdict.FAIL, "message_id"),
        (5 << 20, 100 << 20, "allkeys-lru", Verdict.WARN, "revocations may be evicted"),
        (5 << 20, 100 << 20, "volatile-ttl", Verdict.WARN, "revocations may be evicted"),
    ],
)
def test_memory_that_is_nearly_full_or_evicts_is_found(
    used: int, limit: int, policy: str, verdict: Verdict, word: str
) -> None:
    finding = memory_finding({"used_memory": used, "maxmemory": limit, "maxmemory_policy": policy})
    assert finding.verdict is verdict
    assert word in finding.state


def test_each_of_several_servers_is_checked(redis_server: RedisServer) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    findings = [f for f in check_redis(Config(redis_url=f"{redis_server.url},{away}")) if f.check == "redis"]
    assert [finding.verdict for finding in findings] == [Verdict.OK, Verdict.FAIL]
    assert away in findings[1].state


def test_sentinels_and_the_primary_are_checked(sentinel_set_up: SentinelSetUp) -> None:
    findings = look(sentinel_set_up.url)
    assert findings["redis sentinel"].verdict is Verdict.OK
    assert f"main is at 127.0.0.1:{sentinel_set_up.primary_port}" in findings["redis sentinel"].state
    assert findings["redis"].verdict is Verdict.OK


def test_a_sentinel_that_is_away_is_a_warning_and_none_at_all_a_failure(sentinel_set_up: SentinelSetUp) -> None:
    host = f"127.0.0.1:{free_port()}"
    one = f"127.0.0.1:{sentinel_set_up.sentinels[0].port}"
    finding = look(f"redis+sentinel://{one},{host}/main")["redis sentinel"]
    assert finding.verdict is Verdict.WARN
    assert host in finding.state
    assert look(f"redis+sentinel://{host}/main")["redis sentinel"].verdict is Verdict.FAIL
    unknown = look(f"redis+sentinel://{one}/other")["redis sentinel"]
    assert unknown.verdict is Verdict.FAIL
    assert "the service is unknown there" in unknown.state


def test_sentinels_that_disagree_are_a_failure(sentinel_set_up: SentinelSetUp, redis_server: RedisServer) -> None:
    primary, liar = sentinel_set_up.primary_port, sentinel_set_up.sentinels[2]
    liar.forget()
    liar.watch(redis_server.port)
    finding = look(sentinel_set_up.url)["redis sentinel"]
    liar.forget()
    liar.watch(primary)
    assert finding.verdict is Verdict.FAIL
    assert "disagree" in finding.state
