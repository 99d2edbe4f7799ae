"""The Redis that a backend publishes through: how it is reached, shown and complained about."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from fastws.errors import BrokerUnavailable, ConfigError, FastWSError, Unauthorized

SCHEMES: Final = ("redis", "rediss", "unix")
TRIES: Final = 5
BACKOFF: Final = ExponentialWithJitterBackoff(base=0.1, cap=2.0)


def check_redis_url(redis_url: str) -> str:
    """Return `redis_url` if redis-py can use it. Raises ConfigError saying what is right."""
    if urlsplit(redis_url).scheme not in SCHEMES:
        raise ConfigError("`redis_url` must be like redis://host:6379/0, rediss://… (TLS) or unix:///path/of/socket")
    return redis_url


def shown_url(redis_url: str) -> str:
    """`redis_url` without user, password and options."""
    parts = urlsplit(redis_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def failure_of(redis_url: str, error: RedisError) -> FastWSError:
    """What a failed PUBLISH is raised as: the wrong password or rights, or a Redis that is not there."""
    place = shown_url(redis_url)
    if isinstance(error, AuthenticationError | NoPermissionError) or str(error).startswith("NOAUTH"):
        return Unauthorized(f"the Redis at {place} refuses: {error} (user and password belong in `redis_url`)")
    return BrokerUnavailable(f"nothing was published: the Redis at {place} does not answer ({error})")
