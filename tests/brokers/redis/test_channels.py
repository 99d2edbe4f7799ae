"""Which Redis channels carry a channel of ours."""

from __future__ import annotations

import pytest

from fastws.brokers.redis.channels import RedisNames, shared_feeds
from fastws.brokers.redis.history_scripts import HistoryKeys
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.server.server import Server


def redis_channels(channel: str, **settings: str) -> list[tuple[bytes, str]]:
    return [
        (redis_channel.name, redis_channel.form.name)
        for redis_channel in RedisNames(Config(**settings)).redis_channels(channel)
    ]  # type: ignore[arg-type]


def test_channel_has_one_place_under_the_prefix() -> None:
    assert redis_channels("user:7") == [(b"fastws:channel:user:7", "channels")]
    assert redis_channels("é", redis_prefix="x:") == [("x:channel:é".encode(), "channels")]


def test_feed_has_the_redis_channel_of_its_own_name_too_and_is_published_there() -> None:
    assert redis_channels("botrix:jobs:updates")[-1] == (b"botrix:jobs:updates", "jobs")
    assert redis_channels("workspace:w:1")[-1] == (b"workspace:w:1", "workspaces")
    assert redis_channels("workspace:w1")[0] == (b"fastws:channel:workspace:w1", "channels")
    assert len(redis_channels("workspace:")) == 1


def test_feeds_are_where_the_settings_say() -> None:
    assert redis_channels("jobs", jobs_channel="jobs")[-1] == (b"jobs", "jobs")
    assert len(redis_channels("botrix:jobs:updates", jobs_channel="jobs")) == 1
    assert redis_channels("ws.a+b.events", workspace_channel="ws.{workspace_id}.events")[-1][1] == "workspaces"
    assert len(redis_channels("wsxaxevents", workspace_channel="ws.{workspace_id}.events")) == 1


def test_template_without_a_place_for_the_workspace_is_refused() -> None:
    with pytest.raises(ConfigError, match="workspace_channel"):
        RedisNames(Config(workspace_channel="workspace"))


def test_service_names_are_under_the_prefix() -> None:
    assert RedisNames(Config()).service("node", "abc") == b"fastws:node:abc"


def test_all_keys_of_a_channel_are_in_one_slot_whatever_is_in_its_name() -> None:
    names, keys = RedisNames(Config(redis_prefix="x:")), HistoryKeys(b"x:")
    channel = "x{y}%é"
    tagged = "x:{x%7By%7D%25é}".encode()
    assert names.of_channel(channel, "presence") == tagged + b":presence"
    assert keys.of(channel) == (tagged + b":meta", tagged + b":stream")
    assert keys.channel_of(keys.of(channel)[0]) == channel


def test_feeds_have_the_prefix_if_the_setting_says_so() -> None:
    names = RedisNames(Config(redis_prefix="prod:", redis_prefix_feeds=True))
    assert names.redis_channels("botrix:jobs:updates")[-1].name == b"prod:botrix:jobs:updates"
    assert names.redis_channels("workspace:w1")[-1].name == b"prod:workspace:w1"
    assert names.redis_channels("news")[-1].name == b"prod:channel:news"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"redis_prefix": "prod:"}, ["jobs_channel", "workspace_channel"]),
        ({"redis_prefix": "prod:", "jobs_channel": "jobs"}, ["workspace_channel"]),
        ({"redis_prefix": "prod:", "redis_prefix_feeds": True}, None),
        ({"redis_prefix": "prod:", "jobs_channel": "jobs", "workspace_channel": "w{workspace_id}"}, None),
        ({"redis_prefix": "prod:", "redis_url": None}, None),
        ({}, None),
    ],
)
def test_a_prefix_that_leaves_the_feeds_shared_is_warned_of(
    settings: dict[str, object], named: list[str] | None
) -> None:
    config = Config(**{"redis_url": "redis://localhost", **settings})  # type: ignore[arg-type]
    warnings = shared_feeds(config)
    assert len(warnings) == (named is not None)
    for warning in warnings:
        assert f"not {' and '.join(named or ())}: all" in warning
        assert "redis_prefix_feeds" in warning
    assert Server(config).admittance.warnings == warnings, "serve, check-config and doctor print these"
