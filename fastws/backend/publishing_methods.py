"""The publishing methods that all broadcasters share, sync or async, over HTTP or Redis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypedDict, TypeVar, Unpack

from fastws.backend import events
from fastws.backend.message import Message, PublishOptions, to_channel
from fastws.errors import BadRequest


class Outcome(TypedDict):
    """The result of a publication.

    `sent`: subscribers that the message was delivered to. `failed`: subscribers whose queue was full.
    `stale`: target connections that no longer exist.
    """

    sent: int
    failed: int
    stale: int


Result = TypeVar("Result")


class PublishingMethods(ABC, Generic[Result]):
    """The methods to publish with. `Result` is an Outcome or an awaitable Outcome.

    `workspace_channel` and `jobs_channel` must be the same as in the server's settings.
    """

    def __init__(self, *, workspace_channel: str, jobs_channel: str) -> None:
        if "{workspace_id}" not in workspace_channel:
            raise BadRequest("`workspace_channel` must contain {workspace_id}, for example workspace:{workspace_id}")
        self._workspace_channel = workspace_channel
        self._jobs_channel = jobs_channel

    @abstractmethod
    def deliver(self, message: Message) -> Result:
        """Publish one message."""

    def publish(self, channel: str, event: str, data: object = None, **options: Unpack[PublishOptions]) -> Result:
        """Publish `event` with `data` (any JSON value) to all subscribers of `channel`."""
        return self.deliver(to_channel(channel, event, data, options))

    def send(self, connection_id: str, event: str, data: object = None) -> Result:
        """Send `event` to one connection. If the connection no longer exists, `stale` is 1."""
        return self.deliver(Message(connection_id=connection_id, event=event, data=data))

    def broadcast_execution_started(
        self, workspace_id: str, agent_id: str, run_id: str, user_id: str, **extra: object
    ) -> Result:
        """Publish to a workspace that a run has started. Extra keyword arguments are added to the data."""
        return self.deliver(events.execution_started(self._workspace(workspace_id), agent_id, run_id, user_id, extra))

    def broadcast_execution_completed(
        self,
        workspace_id: str,
        agent_id: str,
        run_id: str,
        success: bool,  # noqa: FBT001 # existing callers may pass it by position
        runtime_seconds: float,
        credits_consumed: float,
        **extra: object,
    ) -> Result:
        """Publish to a workspace that a run has ended. Extra keyword arguments are added to the data."""
        channel = self._workspace(workspace_id)
        return self.deliver(
            events.execution_completed(channel, agent_id, run_id, success, runtime_seconds, credits_consumed, extra)
        )

    def broadcast_metrics_update(self, workspace_id: str, metrics: Mapping[str, object]) -> Result:
        """Publish metrics to a workspace. The server keeps the last update of each `metric_type`."""
        return self.deliver(events.metrics_update(self._workspace(workspace_id), metrics))

    def broadcast_alert(self, workspace_id: str, alert_type: str, alert_data: Mapping[str, object]) -> Result:
        """Publish an alert to a workspace. `priority` in `alert_data` also becomes the priority of the event."""
        return self.deliver(events.alert(self._workspace(workspace_id), alert_type, alert_data))

    def execution_update(self, execution_id: str, data: Mapping[str, object]) -> Result:
        """Publish the new state of an execution to the room `execution:{execution_id}`."""
        return self.deliver(events.execution_update(execution_id, data))

    def node_update(self, execution_id: str, node_id: str, data: Mapping[str, object]) -> Result:
        """Publish the new state of one node to the room `execution:{execution_id}`."""
        return self.deliver(events.node_update(execution_id, node_id, data))

    def job_update(self, job_id: str | int, status: str, data: Mapping[str, object] | None = None) -> Result:
        """Publish the new status of a job to the jobs feed."""
        return self.deliver(events.job_update(self._jobs_channel, job_id, status, data))

    def _workspace(self, workspace_id: str) -> str:
        if not isinstance(workspace_id, str) or not workspace_id:
            raise BadRequest("`workspace_id` must be a non-empty string")
        return self._workspace_channel.replace("{workspace_id}", workspace_id)
