import pytest

from fastws.backend import BadRequest
from fastws.backend.publishing_methods import PublishingMethods


class Collector(PublishingMethods[dict]):
    """A broadcaster that gives back what it is asked to deliver."""

    def deliver(self, message):
        body = message.body()
        del body["message_id"]
        return body


@pytest.fixture
def collector():
    return Collector(workspace_channel="ws-{workspace_id}-events", jobs_channel="jobs")


def test_the_calls_of_the_workspaces_guide_run_with_its_arguments(collector):
    started = collector.broadcast_execution_started(
        workspace_id="workspace-123", agent_id="agent-456", run_id="run-789", user_id="user-123"
    )
    completed = collector.broadcast_execution_completed(
        workspace_id="workspace-123",
        agent_id="agent-456",
        run_id="run-789",
        success=True,
        runtime_seconds=45.2,
        credits_consumed=0.15,
    )
    metrics = collector.broadcast_metrics_update(
        workspace_id="workspace-123",
        metrics={"total_executions": 1234, "active_agents": 5, "credits_consumed": 123.45},
    )
    alert = collector.broadcast_alert(
        workspace_id="workspace-123",
        alert_type="credit_limit",
        alert_data={"message": "Credit limit approaching", "priority": "high"},
    )
    assert [body["event"] for body in (started, completed, metrics, alert)] == [
        "execution_started",
        "execution_completed",
        "metrics_update",
        "alert",
    ]
    assert {body["channel"] for body in (started, completed, metrics, alert)} == {"ws-workspace-123-events"}
    assert alert["priority"] == "high"
    assert alert["data"] == {
        "type": "credit_limit",
        "message": "Credit limit approaching",
        "priority": "high",
    }


def test_further_keywords_of_an_execution_go_into_its_data(collector):
    body = collector.broadcast_execution_started("w", "a", "r", "u", thread_id="t-1")
    assert body["data"]["thread_id"] == "t-1"


def test_job_updates_go_to_the_jobs_channel_of_the_settings(collector):
    assert collector.job_update("7", "completed", {"result": {"success": True}})["channel"] == "jobs"
    assert collector.job_update("7", "completed")["data"] == {"job_id": "7", "status": "completed"}


def test_execution_and_node_updates_take_id_and_data(collector):
    assert collector.execution_update("1", {})["type"] == "execution_update"
    assert collector.node_update("1", "n", {})["type"] == "node_update"


@pytest.mark.parametrize("workspace_id", ["", None, 5])
def test_a_workspace_must_be_a_non_empty_string(collector, workspace_id):
    with pytest.raises(BadRequest, match="workspace_id"):
        collector.broadcast_metrics_update(workspace_id, {})


def test_a_channel_pattern_without_the_workspace_is_refused():
    with pytest.raises(BadRequest, match="workspace_channel"):
        Collector(workspace_channel="workspaces", jobs_channel="jobs")
