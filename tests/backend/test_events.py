import re

import pytest

from fastws.backend import events

NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_execution_started_has_the_fields_of_the_guide():
    message = events.execution_started("workspace:w", "agent-1", "run-1", "user-1", {})
    assert (message.channel, message.event, message.feed) == ("workspace:w", "execution_started", "workspace")
    assert NOW.fullmatch(message.data.pop("started_at"))
    assert message.data == {"agent_id": "agent-1", "run_id": "run-1", "user_id": "user-1"}


def test_a_time_that_the_caller_gives_is_kept():
    given = {"started_at": "2025-11-09T12:00:00Z", "sop": "ETL"}
    message = events.execution_started("workspace:w", "a", "r", "u", given)
    assert message.data == {"agent_id": "a", "run_id": "r", "user_id": "u", **given}


def test_execution_completed_has_the_fields_of_the_guide():
    message = events.execution_completed("workspace:w", "a", "r", True, 45.2, 0.15, {})
    assert NOW.fullmatch(message.data.pop("completed_at"))
    assert message.event == "execution_completed"
    assert message.data == {
        "agent_id": "a",
        "run_id": "r",
        "success": True,
        "runtime_seconds": 45.2,
        "credits_consumed": 0.15,
    }


def test_metrics_are_the_data_as_they_are():
    message = events.metrics_update("workspace:w", {"metric_type": "executions", "active_agents": 5})
    assert (message.event, message.data) == (
        "metrics_update",
        {"metric_type": "executions", "active_agents": 5},
    )


@pytest.mark.parametrize(
    ("alert_data", "priority"),
    [
        ({"message": "m", "priority": "high"}, "high"),
        ({"message": "m", "priority": 0}, 0),
        ({"message": "m"}, None),
    ],
)
def test_the_priority_of_an_alert_is_in_the_data_and_in_the_event(alert_data, priority):
    message = events.alert("workspace:w", "credit_limit", alert_data)
    assert message.data == {"type": "credit_limit", **alert_data}
    assert message.priority == priority


def test_execution_and_node_updates_go_to_the_room_of_the_execution_under_their_types():
    execution = events.execution_update("1", {"status": "running"})
    node = events.node_update("1", "node-3", {"status": "done", "node_name": "n"})
    assert (execution.channel, execution.event, execution.type) == (
        "execution:1",
        "status_changed",
        "execution_update",
    )
    assert execution.data == {"execution_id": "1", "status": "running"}
    assert (node.channel, node.event, node.type) == ("execution:1", "status_changed", "node_update")
    assert node.data == {"execution_id": "1", "node_id": "node-3", "status": "done", "node_name": "n"}


@pytest.mark.parametrize("job_id", ["7", 7])
def test_a_job_update_has_id_and_status_in_its_data(job_id):
    message = events.job_update(events.JOBS_CHANNEL, job_id, "failed", {"status": "old", "progress": 5})
    assert message.data == {"job_id": "7", "status": "failed", "progress": 5}
    assert (message.channel, message.event, message.feed) == ("botrix:jobs:updates", "job_update", "jobs")


def test_a_job_update_needs_no_data():
    assert events.job_update("jobs", "7", "failed", None).data == {"job_id": "7", "status": "failed"}
