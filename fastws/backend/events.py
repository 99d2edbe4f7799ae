"""The messages of the named publishing methods: pure functions from arguments to a message."""

from __future__ import annotations

from collections.abc import Mapping

from fastws.backend.message import Message
from fastws.vocabulary.values import timestamp

JOBS_CHANNEL = "botrix:jobs:updates"
WORKSPACE_CHANNEL = "workspace:{workspace_id}"
ADMIN_CHANNEL = "admin"
ADMIN_EVENT = "admin_event"


def execution_started(channel: str, agent_id: str, run_id: str, user_id: str, extra: Mapping[str, object]) -> Message:
    """A run of an agent has started. `extra` is added to the data; `started_at` defaults to now."""
    data = {"agent_id": agent_id, "run_id": run_id, "user_id": user_id, "started_at": timestamp(), **extra}
    return Message(channel=channel, event="execution_started", data=data, feed="workspace")


def execution_completed(
    channel: str,
    agent_id: str,
    run_id: str,
    success: bool,  # noqa: FBT001 # existing callers may pass it by position
    runtime_seconds: float,
    credits_consumed: float,
    extra: Mapping[str, object],
) -> Message:
    """A run has ended, successfully or not. `extra` is added to the data; `completed_at` defaults to now."""
    data = {
        "agent_id": agent_id,
        "run_id": run_id,
        "success": success,
        "runtime_seconds": runtime_seconds,
        "credits_consumed": credits_consumed,
        "completed_at": timestamp(),
        **extra,
    }
    return Message(channel=channel, event="execution_completed", data=data, feed="workspace")


def metrics_update(channel: str, metrics: Mapping[str, object]) -> Message:
    """Metrics of a dashboard. `metric_type` in `metrics` names the kind of metrics (absent: `default`)."""
    return Message(channel=channel, event="metrics_update", data=dict(metrics), feed="workspace")


def alert(channel: str, alert_type: str, alert_data: Mapping[str, object]) -> Message:
    """An alert. A `priority` in `alert_data` also becomes the priority of the event."""
    priority = alert_data.get("priority")
    return Message(
        channel=channel,
        event="alert",
        data={**alert_data, "type": alert_type},
        priority=priority if isinstance(priority, str | int) else None,
        feed="workspace",
    )


def execution_update(execution_id: str, data: Mapping[str, object]) -> Message:
    """The state of an execution has changed. Rooms clients get it with `type` execution_update."""
    return Message(
        channel=f"execution:{execution_id}",
        event="status_changed",
        data={"execution_id": execution_id, **data},
        type="execution_update",
    )


def node_update(execution_id: str, node_id: str, data: Mapping[str, object]) -> Message:
    """The state of one node of an execution has changed. Rooms clients get it with `type` node_update."""
    return Message(
        channel=f"execution:{execution_id}",
        event="status_changed",
        data={"execution_id": execution_id, "node_id": node_id, **data},
        type="node_update",
    )


def job_update(channel: str, job_id: str | int, status: str, data: Mapping[str, object] | None) -> Message:
    """The new status of a job. The data contains the job's id and status, as in the jobs feed."""
    identity = {"job_id": str(job_id), "status": status}
    return Message(channel=channel, event="job_update", data={**(data or {}), **identity}, feed="jobs")
