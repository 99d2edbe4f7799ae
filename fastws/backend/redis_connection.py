"""The Redis connection of a backend: URL checks, retries and error translation."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from fastws.errors import BrokerUnavailable, ConfigError, FastWSError, Unauthorized

SCHEMES: Final = ("redis", "rediss", "unix")
RETRIES: Final = 5
BACKOFF: Final = ExponentialWithJitterBackoff(base=0.1, cap=2.0)


def check_redis_url(redis_url: str) -> str:
    """Return `redis_url` if its scheme is supported. Raises ConfigError otherwise."""
    if urlsplit(redis_url).scheme not in SCHEMES:
        raise ConfigError("`redis_url` must look like redis://host:6379/0, rediss://… (TLS) or unix:///path/to/socket")
    return redis_url


def redacted_url(redis_url: str) -> str:
    """Return `redis_url` without user, password and query."""
    parts = urlsplit(redis_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def translated_error(redis_url: str, error: RedisError) -> FastWSError:
    """Return the FastWSError for a failed PUBLISH: Unauthorized, or BrokerUnavailable for anything else."""
    place = redacted_url(redis_url)
    if isinstance(error, AuthenticationError | NoPermissionError) or str(error).startswith("NOAUTH"):
        return Unauthorized(f"Redis at {place} denied access: {error}; check the user and password in `redis_url`")
    return BrokerUnavailable(f"not published: Redis at {place} does not answer ({error})")
