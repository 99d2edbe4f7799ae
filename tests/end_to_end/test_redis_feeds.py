"""Publications of backends in their own formats, received by WebSocket clients of two processes."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from fastws.server.server import Server
from tests.end_to_end.ears import get
from tests.redis_server import RedisServer
from tests.serving import Join, Message, Serve, Talker

# Payloads of the Python worker in the documentation of the job server, and one that an operator types.
JOB_OF_THE_WORKER = """{
  "event": "job_update",
  "job_id": "550e8400-e29b-41d4-a716-446655440000",
  "timestamp": 1699369800,
  "data": {
    "job_id": "550e8400-e29b-41d4-a716-446655440000",
    "status": "completed",
    "result": {
      "accounts_created": 5,
      "success": true
    }
  }
}"""
JOB_OF_THE_OPERATOR = '{"job_id":"test-123","status":"completed","data":{"success":true}}'

# Messages for clients in the documentation of the dashboard.
WORKSPACE_EVENTS = [
    """{
  "event": "execution_started",
  "data": {
    "agent_id": "agent-123",
    "run_id": "run-456",
    "user_id": "user-789",
    "started_at": "2025-11-09T12:00:00Z"
  },
  "timestamp": "2025-11-09T12:00:00Z"
}""",
    """{
  "event": "metrics_update",
  "data": {
    "total_executions": 1234,
    "active_agents": 5,
    "credits_consumed": 123.45,
    "avg_runtime": 32.5
  },
  "timestamp": "2025-11-09T12:00:00Z"
}""",
    """{
  "event": "alert",
  "data": {
    "type": "credit_limit",
    "message": "Credit limit approaching",
    "priority": "high"
  },
  "priority": "high",
  "timestamp": "2025-11-09T12:00:00Z"
}""",
]

POISON = [
    b"",
    b"not json",
    b"{",
    b"[1,2,3]",
    b'"text"',
    b"null",
    b"\xc1\x01j\x00\x00\x00\x00",
    b"\xc1\x02",
    b"\xff\xfe\x00",
    b'{"event":7}',
    b'{"data":{}}',
    b"\x81\xa5event",
    b"[" * 100_000,
    b'{"event":"e","data":"' + b"x" * 5_000_000 + b'"}',
]


def packed(text: str, form: str) -> bytes:
    """The payload for `text`."""
    return text.encode() if form == "json" else bytes(msgpack.packb(json.loads(text)))


async def two(serve: Serve, redis_server: RedisServer, **settings: Any) -> tuple[Server, Server]:
    return await serve(redis_url=redis_server.url, **settings), await serve(redis_url=redis_server.url, **settings)


async def rejected(server: Server, feed: str) -> float:
    text = (await get(server, "/metrics")).text
    samples = [line.split()[1] for line in text.splitlines() if f'fastws_feed_rejected_total{{feed="{feed}"}}' in line]
    return float(samples[0]) if samples else 0.0


async def jobs_client(server: Server, join: Join) -> Talker:
    client = await join(server, "/ws", greets=False)
    await client.hears_nothing()
    return client


@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_job_updates_of_the_document_arrive_on_every_process(
    serve: Serve, join: Join, redis_server: RedisServer, form: str
) -> None:
    clients = [await jobs_client(server, join) for server in await two(serve, redis_server)]
    with redis_server.client() as backend:
        assert backend.publish("botrix:jobs:updates", packed(JOB_OF_THE_WORKER, form)) == 2
        assert backend.publish("botrix:jobs:updates", packed(JOB_OF_THE_OPERATOR, form)) == 2
    said = json.loads(JOB_OF_THE_WORKER)
    for client in clients:
        first, second = await client.hear(), await client.hear()
        assert first == {
            "type": "job_update",
            "job_id": said["job_id"],
            "status": "completed",
            "data": said["data"],
            "timestamp": 1699369800,
            "seq": 1,
        }
        assert isinstance(second.pop("timestamp"), int)
        assert second == {
            "type": "job_update",
            "job_id": "test-123",
            "status": "completed",
            "data": {"success": True},
            "seq": 2,
        }


@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_workspace_events_of_the_document_arrive_on_every_process(
    serve: Serve, join: Join, redis_server: RedisServer, form: str
) -> None:
    clients = [
        await join(server, "/ws", token=server.tokens.sign("u", workspaces=["workspace-123"]))
        for server in await two(serve, redis_server)
    ]
    with redis_server.client() as backend:
        for text in WORKSPACE_EVENTS:
            assert backend.publish("workspace:workspace-123", packed(text, form)) == 2
    for client in clients:
        assert [await client.hear() for _ in WORKSPACE_EVENTS] == [json.loads(text) for text in WORKSPACE_EVENTS]


@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_plain_objects_on_a_channel_arrive_in_every_codec(
    serve: Serve, join: Join, redis_server: RedisServer, form: str
) -> None:
    clients = []
    for server in await two(serve, redis_server):
        for codec in ("json", "msgpack"):
            client = await join(server, format=codec)
            await client.ask({"action": "subscribe", "channel": "news"})
            clients.append(client)
    with redis_server.client() as backend:
        assert backend.publish("fastws:channel:news", packed('{"event":"e","data":{"a":[1,null,"ö"]}}', form)) == 2
        backend.publish("fastws:channel:news", packed('{"event":"bare"}', form))
    for client in clients:
        assert await client.hear() == {"channel": "news", "event": "e", "data": {"a": [1, None, "ö"]}}
        assert await client.hear() == {"channel": "news", "event": "bare", "data": None}


async def test_a_plain_object_may_name_type_and_priority_and_leave_clients_out(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    first, second = await two(serve, redis_server)
    token = first.tokens.sign("u", channels=["execution:*"])
    rooms: list[Talker] = []
    for server in (first, second):
        rooms.append(await join(server, "/api/v1/ws", token=token))
        await rooms[-1].ask({"type": "subscribe", "room_id": "execution:1"})
    with redis_server.client() as backend:
        body: Message = {"event": "done", "data": 1, "type": "node_update", "exclude": [rooms[0].id]}
        backend.publish("fastws:channel:execution:1", json.dumps(body))
        backend.publish("fastws:channel:execution:1", json.dumps({"event": "all", "data": 2}))
    left_out, heard = await rooms[0].hear(), await rooms[1].hear()
    assert (left_out["type"], left_out["event"], left_out["data"]) == ("execution_update", "all", 2)
    assert (heard["type"], heard["event"], heard["data"]) == ("node_update", "done", 1)


@pytest.mark.parametrize(
    ("redis_channel", "feed"),
    [
        ("botrix:jobs:updates", "jobs"),
        ("workspace:w1", "workspaces"),
        ("fastws:channel:news", "channels"),
    ],
)
async def test_poison_is_counted_and_nobody_else_feels_it(
    serve: Serve, join: Join, redis_server: RedisServer, redis_channel: str, feed: str
) -> None:
    servers = await two(serve, redis_server)
    jobs = [await jobs_client(server, join) for server in servers]
    workspaces = [await join(server, "/ws", token=server.tokens.sign("u", workspaces=["w1"])) for server in servers]
    channels = [await join(server) for server in servers]
    for client in channels:
        await client.ask({"action": "subscribe", "channel": "news"})
    with redis_server.client() as backend:
        for payload in POISON:
            backend.publish(redis_channel, payload)
        backend.publish("botrix:jobs:updates", JOB_OF_THE_OPERATOR)
        backend.publish("workspace:w1", WORKSPACE_EVENTS[0])
        backend.publish("fastws:channel:news", '{"event":"e"}')
    for client in jobs:
        assert (await client.hear())["seq"] == 1
    for client in workspaces:
        assert (await client.hear())["event"] == "execution_started"
    for client in channels:
        assert (await client.hear())["event"] == "e"
    for server in servers:
        assert await rejected(server, feed) == len(POISON)


async def test_messages_of_clients_are_published_as_old_backends_expect_them(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server = await serve(redis_url=redis_server.url)
    token = server.tokens.sign("u", workspaces=["w1"], channels=["**"], publish=["**"])
    sender = await join(server, token=token)
    with redis_server.client() as backend, backend.pubsub() as old:
        old.subscribe("workspace:w1")
        assert old.get_message(timeout=5)
        await sender.ask({"action": "send", "channel": "workspace:w1", "event": "alert", "data": {"a": 1}})
        message = old.get_message(timeout=5)
    assert message is not None
    said = json.loads(message["data"])
    assert (said["event"], said["data"]) == ("alert", {"a": 1})
    assert isinstance(said["timestamp"], str)


async def test_other_names_of_feeds_and_prefix_are_settings(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server = await serve(
        redis_url=redis_server.url,
        redis_prefix="app:",
        jobs_channel="jobs",
        workspace_channel="tenant/{workspace_id}/events",
    )
    jobs = await jobs_client(server, join)
    workspace = await join(server, "/ws", token=server.tokens.sign("u", workspaces=["w1"]))
    news = await join(server)
    await news.ask({"action": "subscribe", "channel": "news"})
    with redis_server.client() as backend:
        for old_name in ("botrix:jobs:updates", "workspace:w1", "fastws:channel:news"):
            assert backend.publish(old_name, "{}") == 0
        backend.publish("jobs", JOB_OF_THE_OPERATOR)
        backend.publish("tenant/w1/events", WORKSPACE_EVENTS[2])
        backend.publish("app:channel:news", '{"event":"e"}')
    assert (await jobs.hear())["job_id"] == "test-123"
    assert (await workspace.hear())["priority"] == "high"
    assert (await news.hear())["event"] == "e"
