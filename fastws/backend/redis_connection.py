"""The Redis connection of a backend: URL checks, retries and error translation."""

from __future__ import annotations

from typing import Final

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from fastws.errors import BrokerUnavailable, FastWSError, Unauthorized
from fastws.redis_address import parse_address

RETRIES: Final = 5
BACKOFF: Final = ExponentialWithJitterBackoff(base=0.1, cap=2.0)


def shown_address(redis_url: str) -> str:
    """Return `redis_url` without user and password. Raises ConfigError if the server would not accept it either."""
    return str(parse_address(redis_url, setting="`redis_url`"))


def translated_error(place: str, error: RedisError) -> FastWSError:
    """Return the FastWSError for a failed PUBLISH to the Redis at `place`: Unauthorized or BrokerUnavailable."""
    if isinstance(error, AuthenticationError | NoPermissionError) or str(error).startswith("NOAUTH"):
        return Unauthorized(f"Redis at {place} denied access: {error}; check the user and password in `redis_url`")
    return BrokerUnavailable(f"not published: Redis at {place} does not answer ({error})")
