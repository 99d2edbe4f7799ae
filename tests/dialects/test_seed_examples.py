"""Every JSON example of seeds 001, 002 and 003, verbatim: parsed, or made by the dialect."""

from __future__ import annotations

import json

import pytest

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.feeds import job_publication, workspace_publication
from fastws.dialects.jobs import JOBS
from fastws.dialects.rooms import ROOMS
from fastws.dialects.workspaces import WORKSPACES
from fastws.vocabulary.commands import ChangeFilter, Ping, RequestMetrics, Subscribe, Unsubscribe
from fastws.vocabulary.filters import EventFilter
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Connected, Failure, FilterChanged, Pong, Subscribed

ROOM = "execution:123e4567-e89b-12d3-a456-426614174000"
WORKSPACE = StartingChannels(
    channels=("workspace:workspace-123",), home="workspace:workspace-123", workspace="workspace-123"
)


def shape(message: dict[str, object]) -> dict[str, object]:
    """`message` with the moment it was made taken out: of a reply that is now."""
    assert isinstance(message.get("timestamp", ""), str)
    return {key: value for key, value in message.items() if key != "timestamp"} | (
        {"timestamp": "…"} if "timestamp" in message else {}
    )


ROOMS_REQUESTS = {
    '{"type": "subscribe", "room_id": "execution:123e4567-e89b-12d3-a456-426614174000"}': Subscribe(ROOM),
    '{"type": "unsubscribe", "room_id": "execution:123e4567-e89b-12d3-a456-426614174000"}': Unsubscribe(ROOM),
    '{"type": "ping"}': Ping(),
    '{"type": "subscribe", "room_id": "workflow:123e4567-e89b-12d3-a456-426614174000"}': Subscribe(
        "workflow:123e4567-e89b-12d3-a456-426614174000"
    ),
}


@pytest.mark.parametrize(("text", "command"), ROOMS_REQUESTS.items())
def test_rooms_understands_what_the_clients_of_seed_001_send(text: str, command: object) -> None:
    assert ROOMS.parse(json.loads(text)) == command


ROOMS_REPLIES = [
    (
        Connected("abc-123-def"),
        """{
  "type": "connection",
  "event": "connected",
  "connection_id": "abc-123-def",
  "timestamp": "2024-01-01T00:00:00"
}""",
    ),
    (
        Subscribed(ROOM),
        """{
  "type": "subscription",
  "event": "subscribed",
  "room_id": "execution:123e4567-e89b-12d3-a456-426614174000",
  "timestamp": "2024-01-01T00:00:00"
}""",
    ),
    (
        Pong(),
        """{
  "type": "pong",
  "timestamp": "2024-01-01T00:00:00"
}""",
    ),
    (
        Failure("forbidden", "no", ROOM),
        """{
  "type": "error",
  "message": "Access denied to room",
  "room_id": "execution:123e4567-e89b-12d3-a456-426614174000"
}""",
    ),
]


@pytest.mark.parametrize(("reply", "text"), ROOMS_REPLIES)
def test_rooms_replies_as_seed_001_shows(reply: object, text: str) -> None:
    said = ROOMS.reply(reply, StartingChannels())  # type: ignore[arg-type] # the table holds replies
    assert said is not None
    assert shape(said) == shape(json.loads(text))


ROOMS_DELIVERIES = [
    """{
  "type": "execution_update",
  "event": "status_changed",
  "data": {
    "execution_id": "123e4567-e89b-12d3-a456-426614174000",
    "status": "running",
    "progress_percentage": 45.5,
    "completed_nodes": 3,
    "total_nodes": 7,
    "current_node": "node-3"
  },
  "timestamp": "2024-01-01T00:00:00"
}""",
    """{
  "type": "node_update",
  "event": "status_changed",
  "data": {
    "execution_id": "123e4567-e89b-12d3-a456-426614174000",
    "node_execution_id": "abc-def-ghi",
    "node_id": "node-1",
    "node_name": "Customer Support Agent",
    "status": "running",
    "message": "Processing customer inquiry..."
  },
  "timestamp": "2024-01-01T00:00:00"
}""",
]


@pytest.mark.parametrize("text", ROOMS_DELIVERIES)
def test_rooms_delivers_as_seed_001_shows(text: str) -> None:
    expected = json.loads(text)
    # An execution update has its type from its room, a node update from its publisher.
    given_type = None if expected["type"] == "execution_update" else expected["type"]
    said = Publication(ROOM, expected["event"], expected["data"], type=given_type, timestamp=expected["timestamp"])
    assert ROOMS.delivery(said) == expected


SEED_002_EVENTS = frozenset({"execution_started", "execution_completed", "metrics_update", "alert"})


def test_workspaces_understands_what_the_clients_of_seed_002_send() -> None:
    subscribe = WORKSPACES.parse(
        json.loads("""{
  "type": "subscribe",
  "event_types": ["execution_started", "execution_completed", "metrics_update", "alert"]
}""")
    )
    unsubscribe = WORKSPACES.parse(json.loads('{"type": "unsubscribe", "event_types": ["execution_started"]}'))
    by_hand = WORKSPACES.parse(json.loads('{"type":"subscribe","event_types":["execution_started"]}'))
    assert isinstance(subscribe, ChangeFilter)
    assert isinstance(unsubscribe, ChangeFilter)
    assert isinstance(by_hand, ChangeFilter)
    now = subscribe.change(None)
    assert now == EventFilter(SEED_002_EVENTS)
    assert unsubscribe.change(now) == EventFilter(SEED_002_EVENTS - {"execution_started"})
    assert by_hand.change(None) == EventFilter(frozenset({"execution_started"}))
    assert WORKSPACES.parse(json.loads('{"type":"ping"}')) == Ping()
    assert WORKSPACES.parse(
        json.loads("""{
  "type": "request_metrics",
  "metric_type": "executions"
}""")
    ) == RequestMetrics("executions")


def test_workspaces_confirms_the_connection_as_seed_002_shows() -> None:
    said = WORKSPACES.reply(Connected("uuid", "workspace-123"), WORKSPACE)
    assert said is not None
    assert shape(said) == shape(
        json.loads("""{
  "event": "connected",
  "connection_id": "uuid",
  "workspace_id": "workspace-123",
  "timestamp": "2025-11-09T12:00:00Z"
}""")
    )


WORKSPACES_DELIVERIES = [
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


@pytest.mark.parametrize("text", WORKSPACES_DELIVERIES)
def test_what_a_backend_publishes_as_seed_002_shows_is_delivered_as_it_shows(text: str) -> None:
    expected = json.loads(text)
    said = workspace_publication(json.loads(text), "workspace:workspace-123")
    assert said.channel == "workspace:workspace-123"
    assert WORKSPACES.delivery(said) == expected


def test_a_job_update_of_seed_003_is_delivered_as_it_shows() -> None:
    published = json.loads("""{
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
}""")
    assert JOBS.delivery(job_publication(published, "botrix:jobs:updates", now=1.0)) == {
        "type": "job_update",
        "job_id": "550e8400-e29b-41d4-a716-446655440000",
        "status": "completed",
        "data": published["data"],
        "timestamp": 1699369800,
    }


def test_the_job_update_that_seed_003_shows_to_clients_has_all_its_fields() -> None:
    expected = json.loads("""{
  "type": "job_update",
  "job_id": "550e8400-e29b-41d4-a716-446655440000",
  "status": "processing",
  "data": {
    "job_id": "550e8400-e29b-41d4-a716-446655440000",
    "status": "processing",
    "progress": 50,
    "accounts_processed": 3,
    "timestamp": 1699369800
  }
}""")
    bare = {"job_id": expected["job_id"], "status": "processing", "data": expected["data"]}
    said = JOBS.delivery(job_publication(bare, "botrix:jobs:updates", now=1699369800.7))
    assert said == {**expected, "timestamp": 1699369800}


def test_the_redis_cli_example_of_seed_003_is_understood() -> None:
    published = json.loads('{"job_id":"test-123","status":"completed","data":{"success":true}}')
    said = JOBS.delivery(job_publication(published, "botrix:jobs:updates", now=1699369800.0))
    assert (said["job_id"], said["status"], said["data"]) == ("test-123", "completed", {"success": True})


def test_the_heartbeat_of_seed_003_is_answered() -> None:
    assert JOBS.parse(json.loads('{"type": "ping"}')) == Ping()
    assert JOBS.reply(Pong(), JOBS.starting) is not None
    # Nothing is said at the start: the clients of the seed do not expect it.
    assert JOBS.reply(Connected("x"), JOBS.starting) is None


def test_the_filter_confirmation_lists_what_is_in_force() -> None:
    said = WORKSPACES.reply(FilterChanged(EventFilter(SEED_002_EVENTS)), WORKSPACE)
    assert said is not None
    assert shape(said) == {"event": "subscribed", "event_types": sorted(SEED_002_EVENTS), "timestamp": "…"}
