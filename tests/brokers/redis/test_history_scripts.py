"""The scripts of history in a real Redis: how long keys live, and what they may do in a Redis that is full."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from fastws.brokers.redis.history_scripts import CLEAR, PAGE, PUBLISH, READ, HistoryKeys, Script
from tests.redis_server import RedisServer

DAY = 86_400
META, STREAM = HistoryKeys(b"fastws:").of("c")


def run(client: redis.Redis, script: Script, *arguments: object) -> Any:
    return client.eval(script.text, 2, META, STREAM, *arguments)


def publish(client: redis.Redis, life: object = "", *, fresh: str = "e1") -> Any:
    return run(client, PUBLISH, "run", 2, 60_000, "live", life, 0, "", 0, fresh, "rest")


def test_the_first_publication_gives_the_numbering_a_day_whatever_it_had_before(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        publish(client)
        assert client.ttl(META) > DAY - 60
        run(client, CLEAR, "run", "e2", "", "live", 3600)
        assert client.ttl(META) <= 3600
        publish(client)
        assert client.ttl(META) > DAY - 60


def test_later_publications_extend_its_life_when_they_are_told_to(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        publish(client)
        client.expire(META, 100)
        publish(client)
        assert client.ttl(META) <= 100
        publish(client, 5000)
        assert 4000 < client.ttl(META) <= 5000


def test_a_read_extends_its_life_to_a_day_if_anything_was_published(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        for shortest, longest in ((3500, 3600), (DAY - 60, DAY)):
            run(client, READ, "run", "e1", "", 0, 0, 0, 0, "live", DAY, 3600, "")
            assert shortest < client.ttl(META) <= longest
            publish(client)


def test_a_page_tells_that_plain_messages_may_be_missing_while_nobody_receives_them(redis_server: RedisServer) -> None:
    with redis_server.client() as client, client.pubsub() as messages:
        publish(client)
        client.hset(META, "watch", "w")
        assert run(client, PAGE, 0, "-", "+", 10, "live")[4] == b"1"
        messages.subscribe("live")
        messages.get_message(timeout=5.0)
        assert run(client, PAGE, 0, "-", "+", 10, "live")[4] == b""


def test_the_stream_has_the_last_publications_and_ends_by_itself(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        for _ in range(5):
            publish(client)
        assert [identity for identity, _ in client.xrange(STREAM)] == [b"4-0", b"5-0"]
        assert 59_000 < client.pttl(STREAM) <= 60_000


def test_publications_together_share_all_commands_but_those_that_keep_and_publish(
    own_redis_server: RedisServer,
) -> None:
    with own_redis_server.client() as client:
        publish(client)
        client.config_resetstat()
        for _ in range(10):
            publish(client)
        assert commands(client) == {"hmget": 10, "hset": 10, "xadd": 10, "publish": 10, "pexpire": 10}
        client.config_resetstat()
        run(client, PUBLISH, "run", 2, 60_000, "live", "", 0, "", 0, "e2", *["rest"] * 10)
        assert commands(client) == {"hmget": 1, "hset": 1, "xadd": 10, "publish": 10, "pexpire": 1}
        assert [identity for identity, _ in client.xrange(STREAM)] == [b"20-0", b"21-0"]


def commands(client: redis.Redis) -> dict[str, int]:
    """How often the scripts have called each command."""
    stats: Any = client.info("commandstats")
    names = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
    return {name: calls for name, calls in names.items() if name not in ("eval", "config|resetstat", "info")}


def test_a_full_redis_refuses_to_publish_and_changes_nothing_but_can_be_read(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        publish(client)
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="command not allowed"):
            publish(client)
        top, epoch, _, entries, *_ = run(client, READ, "run", "e2", "e1", 1, 0, -2, 2, "live", DAY, 3600)
        assert (top, epoch, len(entries)) == (1, b"e1", 1)
