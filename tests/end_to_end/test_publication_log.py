"""At level debug the log tells what became of each publication, from wherever it comes; at info nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.endpoints.conftest import Ask, ask
from tests.redis_server import RedisServer
from tests.serving import Join, Serve

__all__ = ["ask"]

Lines = list[Any]


@pytest.fixture
def lines() -> Iterator[Lines]:
    ours = logging.getLogger("fastws")
    before = ours.level
    ours.setLevel(logging.DEBUG)
    with capture_logs() as captured:
        yield captured
    ours.setLevel(before)


def published(lines: Lines) -> Lines:
    return [
        (line["source"], line["channel"] or "one connection", line["event_name"], line["sent"], line["failed"])
        for line in lines
        if line["event"] == "published"
    ]


@pytest.mark.parametrize("level", ["debug", "info"])
async def test_every_publication_is_one_line_at_level_debug(
    serve: Serve, join: Join, ask: Ask, lines: Lines, level: str
) -> None:
    server = await serve(log_level=level)
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "c"})
    await client.say({"action": "send", "channel": "c", "event": "a", "data": "a secret"})
    await client.say({"action": "send", "connectionId": client.id, "event": "b", "data": "a secret"})
    await client.say({"action": "send", "connectionId": "gone", "event": "b2"})
    await ask(server, "POST", "/broadcast", {"channel": "c", "event": "d", "data": "a secret"})
    await ask(server, "POST", "/broadcast", {"connectionId": client.id, "event": "e"})
    await server.broadcaster.publish("nobody", "f", "a secret")
    for _ in range(7):
        await client.hear()
    assert "secret" not in str(lines)
    expected = [
        ("client", "c", "a", 1, 0),
        ("client", "one connection", "b", 1, 0),
        ("client", "one connection", "b2", 0, 0),
        ("http", "c", "d", 1, 0),
        ("http", "one connection", "e", 1, 0),
        ("application", "nobody", "f", 0, 0),
    ]
    assert sorted(published(lines)) == (sorted(expected) if level == "debug" else [])


async def test_over_redis_the_process_that_publishes_logs_it_or_else_those_that_deliver_it(
    serve: Serve, join: Join, redis_server: RedisServer, lines: Lines
) -> None:
    servers = [await serve(log_level="debug", redis_url=redis_server.url) for _ in range(2)]
    clients = [await join(server) for server in servers]
    for client in clients:
        await client.ask({"action": "subscribe", "channel": "c"})
    await clients[0].say({"action": "send", "channel": "c", "event": "a"})
    assert {(await clients[0].hear()).get("event") for _ in range(2)} == {"a", None}
    assert (await clients[1].hear())["event"] == "a"
    assert [line[:3] for line in published(lines)] == [("client", "c", "a")]
    with redis_server.client() as redis:
        redis.publish("fastws:channel:c", b'{"event":"b","data":1}')
    for client in clients:
        assert (await client.hear())["event"] == "b"
    assert published(lines)[1:] == [("redis", "c", "b", 1, 0)] * 2
