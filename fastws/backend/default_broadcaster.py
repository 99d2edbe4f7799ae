"""One broadcaster for the whole process, with its methods as module-level functions."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from fastws.backend.channel_requests import History, Presence
from fastws.backend.fork_safe_lock import ForkSafeLock
from fastws.backend.http_broadcaster import HISTORY_LIMIT, REQUEST_SECONDS, RETRY_SECONDS, Broadcaster
from fastws.backend.message import PublishOptions
from fastws.backend.publishing_methods import Outcome
from fastws.errors import ConfigError

_lock = ForkSafeLock()
_broadcaster: Broadcaster | None = None


def init_broadcaster(
    url: str | None = None,
    key: str | None = None,
    *,
    api_id: str | None = None,
    region: str | None = None,
    stage: str = "production",
    timeout: float = REQUEST_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
) -> Broadcaster:
    """Create the broadcaster that the functions of this module use. A second call replaces it.

    `url` and `key` default to FASTWS_URL and FASTWS_BROADCAST_KEY, or the file FASTWS_BROADCAST_KEY_FILE. `timeout`
    limits a request, `retry_seconds` all attempts together; 0 is a single attempt, for code on which a visitor waits.
    `api_id`, `region` and `stage` are accepted for code that was written for API Gateway. They do not identify a
    fastws server, so FASTWS_URL must be set as well (`http://host:8000`, without a stage). Raises ConfigError.
    """
    global _broadcaster
    try:
        fresh = Broadcaster(url, key, timeout=timeout, retry_seconds=retry_seconds)
    except ConfigError as error:
        if api_id is None or url is not None:
            raise
        what = f"`api_id` and `region` ({api_id}, {region}) identify an API Gateway, not a fastws server"
        raise ConfigError(f"{what}: set FASTWS_URL=http://host:8000 to your server's address") from error
    with _lock:
        previous, _broadcaster = _broadcaster, fresh
    if previous is not None:
        previous.close()
    return fresh


@atexit.register
def _close() -> None:
    """Close open connections at exit, to avoid ResourceWarnings."""
    if _broadcaster is not None:
        _broadcaster.close()


def get_broadcaster() -> Broadcaster:
    """Return the broadcaster of this process; created from the environment if `init_broadcaster` was not called."""
    global _broadcaster
    if _broadcaster is None:
        fresh = Broadcaster()
        with _lock:
            _broadcaster = _broadcaster or fresh  # another thread may have been faster, and may be using its own
    return _broadcaster


def publish(channel: str, event: str, data: object = None, **options: Unpack[PublishOptions]) -> Outcome:
    """Publish `event` with `data` (any JSON value) to all subscribers of `channel`."""
    return get_broadcaster().publish(channel, event, data, **options)


def publish_many(messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
    """Publish many messages, each a dict with the fields of `POST /broadcast`. Returns the outcomes in order."""
    return get_broadcaster().publish_many(messages)


def history(
    channel: str,
    *,
    limit: int = HISTORY_LIMIT,
    offset: int | None = None,
    epoch: str | None = None,
    reverse: bool = False,
) -> History:
    """Return a page of the history of `channel`; see Broadcaster.history."""
    return get_broadcaster().history(channel, limit=limit, offset=offset, epoch=epoch, reverse=reverse)


def channels(prefix: str = "") -> list[dict[str, Any]]:
    """Return the channels that have subscribers or a history; see Broadcaster.channels."""
    return get_broadcaster().channels(prefix)


def presence(channel: str) -> Presence:
    """Return all members of `channel`; see Broadcaster.presence."""
    return get_broadcaster().presence(channel)


def send(connection_id: str, event: str, data: object = None) -> Outcome:
    """Send `event` to one connection. If the connection no longer exists, `stale` is 1."""
    return get_broadcaster().send(connection_id, event, data)


def register_connection(connection_id: str) -> None:
    """Deliver admin events to this connection without a subscription, until it closes."""
    get_broadcaster().register_connection(connection_id)


def broadcast_admin_event(data: object) -> Outcome:
    """Publish to channel `admin` and to the registered connections, once each. Closed ones are removed."""
    return get_broadcaster().broadcast_admin_event(data)


def broadcast_execution_started(
    workspace_id: str, agent_id: str, run_id: str, user_id: str, **extra: object
) -> Outcome:
    """Publish to a workspace that a run has started. Extra keyword arguments are added to the data."""
    return get_broadcaster().broadcast_execution_started(workspace_id, agent_id, run_id, user_id, **extra)


def broadcast_execution_completed(
    workspace_id: str,
    agent_id: str,
    run_id: str,
    success: bool,  # noqa: FBT001 # existing callers may pass it by position
    runtime_seconds: float,
    credits_consumed: float,
    **extra: object,
) -> Outcome:
    """Publish to a workspace that a run has ended. Extra keyword arguments are added to the data."""
    return get_broadcaster().broadcast_execution_completed(
        workspace_id, agent_id, run_id, success, runtime_seconds, credits_consumed, **extra
    )


def broadcast_metrics_update(workspace_id: str, metrics: Mapping[str, object]) -> Outcome:
    """Publish metrics to a workspace."""
    return get_broadcaster().broadcast_metrics_update(workspace_id, metrics)


def broadcast_alert(workspace_id: str, alert_type: str, alert_data: Mapping[str, object]) -> Outcome:
    """Publish an alert to a workspace. `priority` in `alert_data` also becomes the priority of the event."""
    return get_broadcaster().broadcast_alert(workspace_id, alert_type, alert_data)


def execution_update(execution_id: str, data: Mapping[str, object]) -> Outcome:
    """Publish the new state of an execution to the room `execution:{execution_id}`."""
    return get_broadcaster().execution_update(execution_id, data)


def node_update(execution_id: str, node_id: str, data: Mapping[str, object]) -> Outcome:
    """Publish the new state of one node to the room `execution:{execution_id}`."""
    return get_broadcaster().node_update(execution_id, node_id, data)


def job_update(job_id: str | int, status: str, data: Mapping[str, object] | None = None) -> Outcome:
    """Publish the new status of a job to the jobs feed."""
    return get_broadcaster().job_update(job_id, status, data)
