"""Clients of redis-py that follow the primary of a Sentinel service. Imported only for redis+sentinel://."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff

from fastws.backend.redis_servers import most_named
from fastws.redis_places import SentinelAddress


def primary_client(place: SentinelAddress, options: dict[str, Any]) -> redis.Redis:
    """Return a client of the primary, whose pool looks for it again whenever a connection is opened."""
    client: redis.Redis = _primary_client(_Sentinel, place, options, redis.retry.Retry(NoBackoff(), 0))
    return client


def asyncio_primary_client(place: SentinelAddress, options: dict[str, Any]) -> redis.asyncio.Redis:
    """primary_client for asyncio."""
    once = redis.asyncio.retry.Retry(NoBackoff(), 0)
    client: redis.asyncio.Redis = _primary_client(_AsyncSentinel, place, options, once)
    return client


def sentinel_answers(place: SentinelAddress, options: dict[str, Any]) -> dict[str, object]:
    """Return what each Sentinel says of the service: the primary's host and port, or why there is none."""
    once = redis.retry.Retry(NoBackoff(), 0)
    make: Any = _Sentinel
    asked = make(_hosts(place), sentinel_kwargs={**_sentinel_options(options, place), "retry": once})
    answers = zip(place.sentinels, asked.answers(place.service), strict=True)
    return {
        f"{one.host}:{one.port}": "the service is unknown there" if answer is None else most_named([answer]) or answer
        for one, answer in answers
    }


# redis-py leaves its Sentinel without types.
def _primary_client(make: Any, place: SentinelAddress, options: dict[str, Any], once: object) -> Any:
    """`once` is the retry policy of connections to Sentinels: the next Sentinel is asked instead."""
    sentinel_options = {**_sentinel_options(options, place), "retry": once}
    return make(_hosts(place), sentinel_kwargs=sentinel_options, **options).master_for(place.service)


class _Sentinel(redis.sentinel.Sentinel):
    """Asks all Sentinels: redis-py believes the first one that answers."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        return _found(self.answers(service_name), service_name)

    def answers(self, service_name: str) -> list[object]:
        """Return what each Sentinel says: an address, None for an unknown service, or the error."""
        answers: list[object] = []
        for sentinel in self.sentinels:
            try:
                answers.append(sentinel.sentinel_get_master_addr_by_name(service_name))
            except redis.RedisError as error:
                answers.append(error)
            finally:
                sentinel.close()  # closing the client of the primary would not do it
        return answers


class _AsyncSentinel(redis.asyncio.sentinel.Sentinel):
    """_Sentinel for asyncio."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        answers: list[object] = []
        for sentinel in self.sentinels:
            try:
                answers.append(await sentinel.sentinel_get_master_addr_by_name(service_name))
            except redis.RedisError as error:
                answers.append(error)
            finally:
                await sentinel.aclose()
        return _found(answers, service_name)


def _found(answers: list[object], service: str) -> tuple[str, int]:
    found = most_named(answers)
    if found is None:
        errors = sorted({str(answer) for answer in answers if isinstance(answer, Exception)})
        raise redis.sentinel.MasterNotFoundError(f"no Sentinel names a primary of {service}: {'; '.join(errors)}")
    return found


def _hosts(place: SentinelAddress) -> list[tuple[str, int]]:
    return [(sentinel.host, sentinel.port) for sentinel in place.sentinels]


def _sentinel_options(options: dict[str, Any], place: SentinelAddress) -> dict[str, Any]:
    """Return the options for connections to Sentinels: the same, with their own credentials."""
    own = {"username": place.sentinels[0].username, "password": place.sentinels[0].password}
    kept = {name: value for name, value in options.items() if name.startswith(("ssl", "socket_")) or name == "protocol"}
    return {**kept, **own}
