"""Which Redis channels carry a channel of ours."""

from __future__ import annotations

import pytest

from fastws.brokers.redis.channels import RedisNames
from fastws.config import Config
from fastws.errors import ConfigError


def places(channel: str, **settings: str) -> list[tuple[bytes, str]]:
    return [(place.name, place.form.name) for place in RedisNames(Config(**settings)).places(channel)]  # type: ignore[arg-type]


def test_channel_has_one_place_under_the_prefix() -> None:
    assert places("user:7") == [(b"fastws:channel:user:7", "channels")]
    assert places("é", redis_prefix="x:") == [("x:channel:é".encode(), "channels")]


def test_feed_has_the_redis_channel_of_its_own_name_too_and_is_published_there() -> None:
    assert places("botrix:jobs:updates")[-1] == (b"botrix:jobs:updates", "jobs")
    assert places("workspace:w:1")[-1] == (b"workspace:w:1", "workspaces")
    assert places("workspace:w1")[0] == (b"fastws:channel:workspace:w1", "channels")
    assert len(places("workspace:")) == 1


def test_feeds_are_where_the_settings_say() -> None:
    assert places("jobs", jobs_channel="jobs")[-1] == (b"jobs", "jobs")
    assert len(places("botrix:jobs:updates", jobs_channel="jobs")) == 1
    assert places("ws.a+b.events", workspace_channel="ws.{workspace_id}.events")[-1][1] == "workspaces"
    assert len(places("wsxaxevents", workspace_channel="ws.{workspace_id}.events")) == 1


def test_template_without_a_place_for_the_workspace_is_refused() -> None:
    with pytest.raises(ConfigError, match="workspace_channel"):
        RedisNames(Config(workspace_channel="workspace"))


def test_service_names_are_under_the_prefix() -> None:
    assert RedisNames(Config()).service("node", "abc") == b"fastws:node:abc"
