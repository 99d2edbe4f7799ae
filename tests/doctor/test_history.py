"""Checks of history and presence, and of what Redis lets fastws keep."""

from __future__ import annotations

import pytest

from fastws.config import Config
from fastws.doctor.finding import Finding, Verdict
from fastws.doctor.history import check_history
from fastws.doctor.redis_server import check_redis
from tests.brokers.redis.documented_user import url_of_documented_user
from tests.redis_server import RedisServer


def warnings(**settings: object) -> list[str]:
    findings = check_history(Config(**settings))  # type: ignore[arg-type]
    return [finding.state for finding in findings if finding.verdict is not Verdict.OK]


def in_redis(url: str, **settings: object) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_redis(Config(redis_url=url, **settings))}  # type: ignore[arg-type]


def states(**settings: object) -> dict[str, str]:
    return {finding.check: finding.state for finding in check_history(Config(**settings))}  # type: ignore[arg-type]


def test_it_is_said_where_publications_are_kept() -> None:
    assert states() == {"history": "off: clients that return may have missed messages", "presence": "off"}
    assert states(history=("chat:**=10/60", "news=off"))["history"] == (
        "chat:** in the memory of this process, until it ends"
    )
    assert states(history=("10/60",), redis_url="redis://h")["history"] == "** in Redis"
    assert states(presence=("chat:**", "all=count"))["presence"] == "chat:**, all"


@pytest.mark.parametrize(
    ("patterns", "unused"),
    [
        (("chat:**", "chat:7"), "chat:7"),
        (("chat:**", "chat:*"), "chat:*"),
        (("**", "chat:7"), "chat:7"),
        (("chat:*", "chat:*:**", "chat:**"), "chat:**"),
        (("chat:7", "chat:7"), "chat:7"),
        (("chat:*", "chat:**"), None),
        (("chat:7", "chat:*"), None),
        (("chat:**", "chat"), None),
        (("chat:**",), None),
    ],
)
def test_patterns_that_earlier_ones_cover_are_found(patterns: tuple[str, ...], unused: str | None) -> None:
    expected = [] if unused is None else [f"{unused} has no effect, earlier patterns cover all its channels"]
    history = warnings(history=tuple(f"{pattern}=10/60" for pattern in patterns))
    assert history == [f"history: {text}" for text in expected]
    updates = warnings(presence=("**",), presence_updates=tuple(f"{pattern}=1" for pattern in patterns))
    assert updates == [f"presence_updates: {text}" for text in expected]
    assert warnings(presence=patterns) == [f"presence: {text}" for text in expected]


def test_what_follows_a_bare_value_has_no_effect() -> None:
    assert len(warnings(history=("10/60", "chat:**=100/60"))) == 1


@pytest.mark.parametrize(
    ("presence", "updates", "is_found"),
    [
        (("chat:**",), ("news:**=1",), True),
        (("chat:**",), ("chat:**=1", "news:**=1"), True),
        (("chat:**",), ("news:**=off", "chat:**=1"), False),
        (("chat:**",), ("1",), False),
        (("chat:7",), ("chat:*=1",), False),
        (("chat:*",), ("chat:7=1",), False),
        (("news:**=off", "chat:**"), ("news:**=1",), True),
    ],
)
def test_updates_for_channels_without_presence_are_found(
    presence: tuple[str, ...], updates: tuple[str, ...], *, is_found: bool
) -> None:
    found = warnings(presence=presence, presence_updates=updates)
    assert found == ["presence_updates: news:** covers no channel with presence, and has no effect"] * is_found


def test_a_history_of_which_nothing_is_replayed_is_found() -> None:
    assert "recover_limit is 0" in warnings(history=("10/60",), recover_limit=0)[0]
    assert warnings(recover_limit=0) == []


def test_invalid_settings_are_left_to_the_check_of_settings() -> None:
    assert list(check_history(Config(history=("much",)))) == []


def test_rights_for_history_are_checked_only_where_it_is_on(own_redis_server: RedisServer) -> None:
    url = url_of_documented_user(own_redis_server)
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "fastws", "-xadd", "-evalsha", "-script|load", "-pubsub|numsub")
    assert "redis history" not in in_redis(url)
    assert "redis history" not in in_redis(url, history=("news=off",))
    finding = in_redis(url, history=("10/60",))["redis history"]
    assert finding.verdict is Verdict.FAIL
    assert finding.state == "fastws may not use SCRIPT LOAD, EVALSHA, XADD, PUBSUB NUMSUB: nothing can be kept"
    assert finding.remedy.startswith("ACL SETUSER fastws")


def test_the_documented_user_has_all_rights_for_history_and_nothing_is_left(own_redis_server: RedisServer) -> None:
    url = url_of_documented_user(own_redis_server)
    assert in_redis(url, history=("10/60",))["redis history"].verdict is Verdict.OK
    with own_redis_server.client() as client:
        assert client.keys() == []


@pytest.mark.parametrize("command", ["xrange", "xrevrange", "pexpire", "pttl", "hget", "hmget", "scan"])
def test_each_missing_right_is_found(own_redis_server: RedisServer, command: str) -> None:
    url = url_of_documented_user(own_redis_server)
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "fastws", f"-{command}")
    assert f"may not use {command.upper()}:" in in_redis(url, history=("10/60",))["redis history"].state


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_policy_that_evicts_histories_is_found(own_redis_server: RedisServer, policy: str) -> None:
    with own_redis_server.client() as client:
        client.config_set("maxmemory-policy", policy)
        assert in_redis(own_redis_server.url, history=("10/60",))["redis history"].verdict is Verdict.OK, "no limit"
        client.config_set("maxmemory", "100mb")
    finding = in_redis(own_redis_server.url, history=("10/60",))["redis history"]
    assert finding.verdict is Verdict.WARN
    assert policy in finding.state
    assert "noeviction" in finding.remedy
