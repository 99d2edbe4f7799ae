"""One broadcaster for the whole process, and its calls as plain functions."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Unpack

from fastws.backend.calls import Outcome
from fastws.backend.message import More
from fastws.backend.over_http import REQUEST_SECONDS, RETRY_SECONDS, Broadcaster
from fastws.errors import ConfigError

_lock = Lock()
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
    """Say once where the server is; the functions below use it.

    `url` and `key` default to FASTWS_URL and FASTWS_BROADCAST_KEY.
    `api_id`, `region` and `stage` are those of code written for API Gateway: they may stay but name no fastws
    server, so FASTWS_URL must be set (`http://host:8000`; no stage needed). `timeout` bounds one request and
    `retry_seconds` all tries of a call; 0: one try, for those whom a visitor waits for. A second call replaces the
    first. Raises ConfigError saying what is missing.
    """
    global _broadcaster
    try:
        fresh = Broadcaster(url, key, timeout=timeout, retry_seconds=retry_seconds)
    except ConfigError as error:
        if api_id is None or url is not None:
            raise
        raise ConfigError(
            f"`api_id` and `region` ({api_id}, {region}) name an API Gateway and no fastws server: "
            "set FASTWS_URL=http://host:8000 to the address of yours"
        ) from error
    with _lock:
        former, _broadcaster = _broadcaster, fresh
    if former is not None:
        former.close()
    return fresh


@atexit.register
def _close() -> None:
    """Close the kept connections with the process, so that the interpreter has none to complain about."""
    if _broadcaster is not None:
        _broadcaster.close()


def get_broadcaster() -> Broadcaster:
    """The process's broadcaster; where `init_broadcaster` was not called, one made from the environment."""
    return _broadcaster or init_broadcaster()


def publish(channel: str, event: str, data: object = None, **more: Unpack[More]) -> Outcome:
    """Say `event` with `data` (any JSON value) to every subscriber of `channel`."""
    return get_broadcaster().publish(channel, event, data, **more)


def publish_many(messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
    """Publish many at once, each a dict in the words of `POST /broadcast`; the outcomes in their order."""
    return get_broadcaster().publish_many(messages)


def send(connection_id: str, event: str, data: object = None) -> Outcome:
    """Say `event` to one connection; one that is gone gives `stale` 1."""
    return get_broadcaster().send(connection_id, event, data)


def register_connection(connection_id: str) -> None:
    """Let this connection hear admin events without a subscription, until it is gone."""
    get_broadcaster().register_connection(connection_id)


def broadcast_admin_event(data: object) -> Outcome:
    """Tell channel `admin` and the registered connections, each once; those gone are forgotten."""
    return get_broadcaster().broadcast_admin_event(data)


def broadcast_execution_started(workspace_id: str, agent_id: str, run_id: str, user_id: str, **more: object) -> Outcome:
    """Tell a workspace that a run began; further keywords go into the data."""
    return get_broadcaster().broadcast_execution_started(workspace_id, agent_id, run_id, user_id, **more)


def broadcast_execution_completed(
    workspace_id: str,
    agent_id: str,
    run_id: str,
    success: bool,  # noqa: FBT001 # the seeds' callers may pass it by position
    runtime_seconds: float,
    credits_consumed: float,
    **more: object,
) -> Outcome:
    """Tell a workspace that a run ended; further keywords go into the data."""
    return get_broadcaster().broadcast_execution_completed(
        workspace_id, agent_id, run_id, success, runtime_seconds, credits_consumed, **more
    )


def broadcast_metrics_update(workspace_id: str, metrics: Mapping[str, object]) -> Outcome:
    """Tell a workspace its figures."""
    return get_broadcaster().broadcast_metrics_update(workspace_id, metrics)


def broadcast_alert(workspace_id: str, alert_type: str, alert_data: Mapping[str, object]) -> Outcome:
    """Tell a workspace an alert; `priority` in `alert_data` is put beside the event as well."""
    return get_broadcaster().broadcast_alert(workspace_id, alert_type, alert_data)


def execution_update(execution_id: str, data: Mapping[str, object]) -> Outcome:
    """Tell the room `execution:{execution_id}` its new state."""
    return get_broadcaster().execution_update(execution_id, data)


def node_update(execution_id: str, node_id: str, data: Mapping[str, object]) -> Outcome:
    """Tell the room `execution:{execution_id}` the new state of one node."""
    return get_broadcaster().node_update(execution_id, node_id, data)


def job_update(job_id: str | int, status: str, data: Mapping[str, object] | None = None) -> Outcome:
    """Tell everyone on the jobs feed the new status of a job."""
    return get_broadcaster().job_update(job_id, status, data)
