"""What a backend imports to publish: broadcasters over HTTP and Redis, and the same calls as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.backend.calls import Calls, Outcome
from fastws.backend.over_http import AsyncBroadcaster, Broadcaster
from fastws.backend.process_wide import (
    broadcast_admin_event,
    broadcast_alert,
    broadcast_execution_completed,
    broadcast_execution_started,
    broadcast_metrics_update,
    execution_update,
    get_broadcaster,
    init_broadcaster,
    job_update,
    node_update,
    publish,
    publish_many,
    register_connection,
    send,
)
from fastws.errors import (
    BadRequest,
    BrokerUnavailable,
    ConfigError,
    FastWSError,
    Forbidden,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
)

if TYPE_CHECKING:
    from fastws.backend.over_redis import AsyncRedisBroadcaster, RedisBroadcaster

__all__ = [
    "AsyncBroadcaster",
    "AsyncRedisBroadcaster",
    "BadRequest",
    "Broadcaster",
    "BrokerUnavailable",
    "Calls",
    "ConfigError",
    "FastWSError",
    "Forbidden",
    "Outcome",
    "RateLimited",
    "RedisBroadcaster",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "broadcast_admin_event",
    "broadcast_alert",
    "broadcast_execution_completed",
    "broadcast_execution_started",
    "broadcast_metrics_update",
    "execution_update",
    "get_broadcaster",
    "init_broadcaster",
    "job_update",
    "node_update",
    "publish",
    "publish_many",
    "register_connection",
    "send",
]

_OVER_REDIS = ("AsyncRedisBroadcaster", "RedisBroadcaster")


def __getattr__(name: str) -> object:
    """What needs redis-py, loaded when asked for: it is 6 MB, and the server and most backends go without."""
    if name in _OVER_REDIS:
        from fastws.backend import over_redis

        return getattr(over_redis, name)
    raise AttributeError(f"module 'fastws.backend' has no attribute {name!r}")
