"""What a backend imports to publish: broadcasters over HTTP and Redis, and the same calls as functions."""

from fastws.backend.calls import Calls, Outcome
from fastws.backend.over_http import AsyncBroadcaster, Broadcaster
from fastws.backend.over_redis import AsyncRedisBroadcaster, RedisBroadcaster
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
