"""Publishing from Python backends: broadcasters over HTTP and Redis, and the same methods as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.backend.default_broadcaster import (
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
from fastws.backend.http_broadcaster import AsyncBroadcaster, Broadcaster
from fastws.backend.publishing_methods import Outcome, PublishingMethods
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
    from fastws.backend.redis_broadcaster import AsyncRedisBroadcaster, RedisBroadcaster

__all__ = [
    "AsyncBroadcaster",
    "AsyncRedisBroadcaster",
    "BadRequest",
    "Broadcaster",
    "BrokerUnavailable",
    "ConfigError",
    "FastWSError",
    "Forbidden",
    "Outcome",
    "PublishingMethods",
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

_NEED_REDIS = ("AsyncRedisBroadcaster", "RedisBroadcaster")


def __getattr__(name: str) -> object:
    """Import the Redis broadcasters on first use: redis-py takes 6 MB, and most backends do not need it."""
    if name in _NEED_REDIS:
        from fastws.backend import redis_broadcaster

        return getattr(redis_broadcaster, name)
    raise AttributeError(f"module 'fastws.backend' has no attribute {name!r}")
