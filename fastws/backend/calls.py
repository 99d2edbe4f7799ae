"""The calls that every broadcaster offers, sync or async, over HTTP or Redis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypedDict, TypeVar, Unpack

from fastws.backend import events
from fastws.backend.message import Message, More, to_channel
from fastws.errors import BadRequest


class Outcome(TypedDict):
    """How a publication ended.

    `sent` counts the subscribers it was handed to, `failed` those whose queue refused it, `stale` connections
    that are gone.
    """

    sent: int
    failed: int
    stale: int


Result = TypeVar("Result")


class Calls(ABC, Generic[Result]):
    """Publishing in the application's words. `Result` is an Outcome, or an awaitable of one.

    `workspace_channel` and `jobs_channel` are as in the settings of the server.
    """

    def __init__(self, *, workspace_channel: str, jobs_channel: str) -> None:
        if "{workspace_id}" not in workspace_channel:
            raise BadRequest("`workspace_channel` must have {workspace_id} in it, like workspace:{workspace_id}")
        self._workspace_channel = workspace_channel
        self._jobs_channel = jobs_channel

    @abstractmethod
    def deliver(self, message: Message) -> Result:
        """Hand over one message."""

    def publish(self, channel: str, event: str, data: object = None, **more: Unpack[More]) -> Result:
        """Say `event` with `data` (any JSON value) to every subscriber of `channel`."""
        return self.deliver(to_channel(channel, event, data, more))

    def send(self, connection_id: str, event: str, data: object = None) -> Result:
        """Say `event` to one connection; one that is gone gives `stale` 1."""
        return self.deliver(Message(connection_id=connection_id, event=event, data=data))

    def broadcast_execution_started(
        self, workspace_id: str, agent_id: str, run_id: str, user_id: str, **more: object
    ) -> Result:
        """Tell a workspace that a run began; further keywords go into the data."""
        return self.deliver(events.execution_started(self._workspace(workspace_id), agent_id, run_id, user_id, more))

    def broadcast_execution_completed(
        self,
        workspace_id: str,
        agent_id: str,
        run_id: str,
        success: bool,  # noqa: FBT001 # the seeds' callers may pass it by position
        runtime_seconds: float,
        credits_consumed: float,
        **more: object,
    ) -> Result:
        """Tell a workspace that a run ended; further keywords go into the data."""
        channel = self._workspace(workspace_id)
        return self.deliver(
            events.execution_completed(channel, agent_id, run_id, success, runtime_seconds, credits_consumed, more)
        )

    def broadcast_metrics_update(self, workspace_id: str, metrics: Mapping[str, object]) -> Result:
        """Tell a workspace its figures; the server keeps the last of each `metric_type` in them."""
        return self.deliver(events.metrics_update(self._workspace(workspace_id), metrics))

    def broadcast_alert(self, workspace_id: str, alert_type: str, alert_data: Mapping[str, object]) -> Result:
        """Tell a workspace an alert; `priority` in `alert_data` is put beside the event as well."""
        return self.deliver(events.alert(self._workspace(workspace_id), alert_type, alert_data))

    def execution_update(self, execution_id: str, data: Mapping[str, object]) -> Result:
        """Tell the room `execution:{execution_id}` its new state."""
        return self.deliver(events.execution_update(execution_id, data))

    def node_update(self, execution_id: str, node_id: str, data: Mapping[str, object]) -> Result:
        """Tell the room `execution:{execution_id}` the new state of one node."""
        return self.deliver(events.node_update(execution_id, node_id, data))

    def job_update(self, job_id: str | int, status: str, data: Mapping[str, object] | None = None) -> Result:
        """Tell everyone on the jobs feed the new status of a job."""
        return self.deliver(events.job_update(self._jobs_channel, job_id, status, data))

    def _workspace(self, workspace_id: str) -> str:
        if not isinstance(workspace_id, str) or not workspace_id:
            raise BadRequest("`workspace_id` must be a text that is not empty")
        return self._workspace_channel.replace("{workspace_id}", workspace_id)
