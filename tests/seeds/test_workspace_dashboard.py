"""Workspaces of a dashboard: every example of the guide, replayed, its environment variables included."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import redis.asyncio

from fastws.server.server import Server
from fastws.settings import load
from tests.redis_server import RedisServer
from tests.seeds.examples import agrees
from tests.seeds.node import running
from tests.serving import Join, Message, Serve, Talker

SUBSCRIBE = """
{
  "type": "subscribe",
  "event_types": ["execution_started", "execution_completed", "metrics_update", "alert"]
}
"""
UNSUBSCRIBE = """
{
  "type": "unsubscribe",
  "event_types": ["execution_started"]
}
"""
PING = """
{
  "type": "ping"
}
"""
REQUEST_METRICS = """
{
  "type": "request_metrics",
  "metric_type": "executions"
}
"""
CONNECTED = """
{
  "event": "connected",
  "connection_id": "uuid",
  "workspace_id": "workspace-123",
  "timestamp": "2025-11-09T12:00:00Z"
}
"""
EXECUTION_STARTED = """
{
  "event": "execution_started",
  "data": {
    "agent_id": "agent-123",
    "run_id": "run-456",
    "user_id": "user-789",
    "started_at": "2025-11-09T12:00:00Z"
  },
  "timestamp": "2025-11-09T12:00:00Z"
}
"""
EXECUTION_COMPLETED = """
{
  "event": "execution_completed",
  "data": {
    "agent_id": "agent-123",
    "run_id": "run-456",
    "success": true,
    "runtime_seconds": 45.2,
    "credits_consumed": 0.15,
    "completed_at": "2025-11-09T12:00:45Z"
  },
  "timestamp": "2025-11-09T12:00:45Z"
}
"""
METRICS_UPDATE = """
{
  "event": "metrics_update",
  "data": {
    "total_executions": 1234,
    "active_agents": 5,
    "credits_consumed": 123.45,
    "avg_runtime": 32.5
  },
  "timestamp": "2025-11-09T12:00:00Z"
}
"""
ALERT = """
{
  "event": "alert",
  "data": {
    "type": "credit_limit",
    "message": "Credit limit approaching",
    "priority": "high"
  },
  "priority": "high",
  "timestamp": "2025-11-09T12:00:00Z"
}
"""
EVENTS = (EXECUTION_STARTED, EXECUTION_COMPLETED, METRICS_UPDATE, ALERT)
BROADCASTS = """
# Broadcast execution started
await broadcaster.broadcast_execution_started(
    workspace_id="workspace-123",
    agent_id="agent-456",
    run_id="run-789",
    user_id="user-123"
)

# Broadcast execution completed
await broadcaster.broadcast_execution_completed(
    workspace_id="workspace-123",
    agent_id="agent-456",
    run_id="run-789",
    success=True,
    runtime_seconds=45.2,
    credits_consumed=0.15
)

# Broadcast metrics update
await broadcaster.broadcast_metrics_update(
    workspace_id="workspace-123",
    metrics={
        "total_executions": 1234,
        "active_agents": 5,
        "credits_consumed": 123.45
    }
)

# Broadcast alert
await broadcaster.broadcast_alert(
    workspace_id="workspace-123",
    alert_type="credit_limit",
    alert_data={
        "message": "Credit limit approaching",
        "priority": "high"
    }
)
"""
ENVIRONMENT = """
REDIS_URL=redis://localhost:6379/0
ENABLE_REALTIME=true
"""


async def enter(server: Server, join: Join) -> Talker:
    token = server.tokens.sign("u1", workspaces=["workspace-123"])
    client = await join(server, "/ws", greets=False, token=token, workspace_id="workspace-123")
    assert agrees(await client.hear(), json.loads(CONNECTED))
    return client


async def test_what_a_client_says_is_answered(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join)
    names = json.loads(SUBSCRIBE)["event_types"]
    subscribed: Message = {"event": "subscribed", "event_types": sorted(names), "timestamp": ""}
    assert agrees(await client.ask(json.loads(SUBSCRIBE)), subscribed)
    left = sorted(set(names) - {"execution_started"})
    unsubscribed: Message = {"event": "unsubscribed", "event_types": left, "timestamp": ""}
    assert agrees(await client.ask(json.loads(UNSUBSCRIBE)), unsubscribed)
    assert agrees(await client.ask(json.loads(PING)), {"event": "pong", "timestamp": ""})


async def test_requested_metrics_are_the_last_update_of_their_type(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join)
    nothing = {"event": "metrics_update", "metric_type": "executions", "data": {}, "timestamp": ""}
    assert agrees(await client.ask(json.loads(REQUEST_METRICS)), nothing)
    data = json.loads(METRICS_UPDATE)["data"] | {"metric_type": "executions"}
    await server.broadcaster.broadcast_metrics_update("workspace-123", data)
    await client.hear()
    assert agrees(await client.ask(json.loads(REQUEST_METRICS)), {**nothing, "data": data})
    connections = await client.ask({"type": "request_metrics", "metric_type": "connections"})
    assert connections["data"] == {"connections": 1}


async def test_every_event_arrives_as_the_guide_shows(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join)
    await client.ask(json.loads(SUBSCRIBE))
    for example in map(json.loads, EVENTS):
        more = {"priority": example["priority"]} if "priority" in example else {}
        await server.broadcaster.publish("workspace:workspace-123", example["event"], example["data"], **more)
        assert agrees(await client.hear(), example)


async def test_what_a_backend_publishes_on_redis_is_passed_on_as_it_is(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server = await serve(redis_url=redis_server.url)
    client = await enter(server, join)
    async with redis.asyncio.Redis.from_url(redis_server.url, protocol=2) as backend:
        for example in EVENTS:
            assert await backend.publish("workspace:workspace-123", example) == 1
            assert await client.hear() == json.loads(example)


async def test_the_broadcaster_of_the_guide_runs_as_it_stands(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join)
    body = "\n".join(f"    {line}" for line in BROADCASTS.splitlines())
    application: dict[str, object] = {}
    exec(f"async def run(broadcaster):\n{body}", application)
    await application["run"](server.broadcaster)  # type: ignore[operator]
    started, completed, metrics, alert = [await client.hear() for _ in range(4)]
    assert agrees(
        started["data"], {"agent_id": "agent-456", "run_id": "run-789", "user_id": "user-123", "started_at": ""}
    )
    assert set(started) == set(json.loads(EXECUTION_STARTED))
    assert set(completed["data"]) == set(json.loads(EXECUTION_COMPLETED)["data"])
    assert completed["data"]["credits_consumed"] == 0.15
    assert metrics["data"] == {"total_executions": 1234, "active_agents": 5, "credits_consumed": 123.45}
    assert agrees(alert, json.loads(ALERT))


async def test_the_managers_figures(serve: Serve, join: Join) -> None:
    server = await serve()
    ids = [(await enter_and_tell_id(server, join)) for _ in range(2)]
    await join(server)
    manager = server.broadcaster
    assert manager.get_connection_count() == 3
    assert manager.get_connection_count("workspace-123") == 2
    assert sorted(manager.get_workspace_connections("workspace-123")) == sorted(ids)


async def enter_and_tell_id(server: Server, join: Join) -> str:
    token = server.tokens.sign("u1", workspaces=["workspace-123"])
    return (await join(server, "/ws", token=token)).id


def test_the_environment_of_the_guide_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ENVIRONMENT.split():
        monkeypatch.setenv(*line.split("=", 1))
    config = load({}, os.environ)
    assert config.redis_url == "redis://localhost:6379/0"
    assert config.enable_realtime is True
    monkeypatch.setenv("ENABLE_REALTIME", "false")
    assert load({}, os.environ).enable_realtime is False


async def test_a_session_with_wscat(serve: Serve, node_folder: Path) -> None:
    server = await serve()
    token = server.tokens.sign("u1", workspaces=["workspace-123"])
    url = f"ws://127.0.0.1:{server.port}/ws?token={token}"
    async with running("node_modules/.bin/wscat", "-c", url, folder=node_folder) as wscat:
        assert (await wscat.hear())["event"] == "connected"
        await wscat.say('{"type":"subscribe","event_types":["execution_started"]}')
        assert (await wscat.hear())["event_types"] == ["execution_started"]
        await wscat.say('{"type":"ping"}')
        assert (await wscat.hear())["event"] == "pong"
