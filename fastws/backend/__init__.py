"""Publishing from Python backends: broadcasters over HTTP and Redis, and the same methods as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastws.backend.channel_requests import History, Presence
    from fastws.backend.default_broadcaster import (
        broadcast_admin_event,
        broadcast_alert,
        broadcast_execution_completed,
        broadcast_execution_started,
        broadcast_metrics_update,
        channels,
        execution_update,
        get_broadcaster,
        history,
        init_broadcaster,
        job_update,
        node_update,
        presence,
        publish,
        publish_many,
        register_connection,
        send,
    )
    from fastws.backend.http_broadcaster import AsyncBroadcaster, Broadcaster
    from fastws.backend.publishing_methods import Outcome, PublishingMethods
    from fastws.backend.redis_broadcaster import AsyncRedisBroadcaster, RedisBroadcaster
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
        Unrecoverable,
    )

__all__ = [
    "AsyncBroadcaster",
    "AsyncRedisBroadcaster",
    "BadRequest",
    "Broadcaster",
    "BrokerUnavailable",
    "ConfigError",
    "FastWSError",
    "Forbidden",
    "History",
    "Outcome",
    "Presence",
    "PublishingMethods",
    "RateLimited",
    "RedisBroadcaster",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unrecoverable",
    "broadcast_admin_event",
    "broadcast_alert",
    "broadcast_execution_completed",
    "broadcast_execution_started",
    "broadcast_metrics_update",
    "channels",
    "execution_update",
    "get_broadcaster",
    "history",
    "init_broadcaster",
    "job_update",
    "node_update",
    "presence",
    "publish",
    "publish_many",
    "register_connection",
    "send",
]

# Imported on first use. Backends that publish over HTTP do not load redis-py (6 MB), and the server, which shares parts
# of this package, loads neither redis-py nor httpx. `from fastws.backend import Broadcaster` loads all that it needs.
_MODULES = {
    **dict.fromkeys(("AsyncBroadcaster", "Broadcaster"), "fastws.backend.http_broadcaster"),
    **dict.fromkeys(("AsyncRedisBroadcaster", "RedisBroadcaster"), "fastws.backend.redis_broadcaster"),
    **dict.fromkeys(("History", "Presence"), "fastws.backend.channel_requests"),
    **dict.fromkeys(("Outcome", "PublishingMethods"), "fastws.backend.publishing_methods"),
    **dict.fromkeys((name for name in __all__ if name[0].islower()), "fastws.backend.default_broadcaster"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'fastws.backend' has no attribute {name!r}")
    from importlib import import_module

    # The rest of `__all__` are errors.
    return getattr(import_module(_MODULES.get(name, "fastws.errors")), name)
