"""Publishing directly to Redis, without a request to the server, for threads and for asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.exceptions import RedisError

from fastws.backend.events import ADMIN_CHANNEL, ADMIN_EVENT, JOBS_CHANNEL, WORKSPACE_CHANNEL
from fastws.backend.lifetime import ClientOfLoop, ClientOfProcess, ClosedOnAsyncExit, ClosedOnExit
from fastws.backend.message import Message, from_body
from fastws.backend.publishing_methods import Outcome, PublishingMethods
from fastws.backend.redis_connection import BACKOFF, RETRIES, shown_address, translated_error
from fastws.backend.redis_encoding import Format, redis_publication
from fastws.errors import BadRequest

TIMEOUT_SECONDS = 5.0
PIPELINE_SIZE = 512  # publications per pipeline

Result = TypeVar("Result")


class AnyRedisBroadcaster(PublishingMethods[Result]):
    """The parts that RedisBroadcaster and AsyncRedisBroadcaster share.

    `prefix` and `prefix_feeds` must be the server's `redis_prefix` and `redis_prefix_feeds`. `format` is json, or
    msgpack for types that JSON lacks. In an outcome `sent` counts the server processes that received the message, not
    the clients, because that is what PUBLISH returns. Lost connections are retried, so a message may be delivered
    twice; use HTTP where that matters. Raises BrokerUnavailable, Unauthorized or BadRequest.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        prefix: str = "fastws:",
        prefix_feeds: bool = False,
        format: Format = "json",  # noqa: A002 # the same name as in the client and the command line
        timeout: float = TIMEOUT_SECONDS,
        workspace_channel: str = WORKSPACE_CHANNEL,
        jobs_channel: str = JOBS_CHANNEL,
    ) -> None:
        super().__init__(workspace_channel=workspace_channel, jobs_channel=jobs_channel)
        if format not in ("json", "msgpack"):
            raise BadRequest("`format` must be json or msgpack")
        self._place = shown_address(redis_url)
        self._redis_url = redis_url.strip()
        self._options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._prefix = prefix
        self._prefix_feeds = prefix_feeds
        self._format: Format = format

    def broadcast_admin_event(self, data: object) -> Result:
        """Publish to channel `admin`. Single connections cannot be reached through Redis."""
        return self.publish(ADMIN_CHANNEL, ADMIN_EVENT, data)

    def _publication(self, message: Message) -> tuple[str, bytes]:
        return redis_publication(message, prefix=self._prefix, encoding=self._format, prefix_feeds=self._prefix_feeds)

    def _batches(self, messages: Iterable[Mapping[str, object]]) -> Iterator[list[tuple[str, bytes]]]:
        """Check and encode all messages before yielding the first batch."""
        publications = [self._publication(from_body(message)) for message in messages]
        for begin in range(0, len(publications), PIPELINE_SIZE):
            yield publications[begin : begin + PIPELINE_SIZE]


class RedisBroadcaster(AnyRedisBroadcaster[Outcome], ClosedOnExit):
    """Publishes with PUBLISH over a connection pool. Thread-safe, and usable after a fork."""

    def __init__(self, redis_url: str, **options: Any) -> None:
        super().__init__(redis_url, **options)
        # redis-py 8 renews its pool after a fork, but not the lock of it, which a thread of the parent may have held.
        self._own_redis = ClientOfProcess(self._connect)
        self._own_redis.get()  # checks the URL, and opens no connection yet

    def deliver(self, message: Message) -> Outcome:
        channel, payload = self._publication(message)
        try:
            return outcome_of(self._own_redis.get().publish(channel, payload))
        except RedisError as error:
            raise translated_error(self._place, error) from error

    def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many messages in few round trips, each a dict with the fields of `POST /broadcast`."""
        outcomes: list[Outcome] = []
        for batch in self._batches(messages):
            with self._own_redis.get().pipeline(transaction=False) as pipeline:
                for channel, payload in batch:
                    pipeline.publish(channel, payload)
                try:
                    outcomes += map(outcome_of, pipeline.execute())
                except RedisError as error:
                    raise translated_error(self._place, error) from error
        return outcomes

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self._own_redis.close()

    def _connect(self) -> redis.Redis:
        retry = redis.retry.Retry(BACKOFF, RETRIES)
        return redis.Redis.from_url(self._redis_url, retry=retry, **self._options)


class AsyncRedisBroadcaster(AnyRedisBroadcaster[Awaitable[Outcome]], ClosedOnAsyncExit):
    """RedisBroadcaster for asyncio: the same methods as coroutines."""

    def __init__(self, redis_url: str, **options: Any) -> None:
        super().__init__(redis_url, **options)
        self._own_redis = ClientOfLoop(self._connect)

    async def deliver(self, message: Message) -> Outcome:
        channel, payload = self._publication(message)
        try:
            return outcome_of(await self._own_redis.get().publish(channel, payload))
        except RedisError as error:
            raise translated_error(self._place, error) from error

    async def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many messages in few round trips; see RedisBroadcaster.publish_many."""
        outcomes: list[Outcome] = []
        for batch in self._batches(messages):
            async with self._own_redis.get().pipeline(transaction=False) as pipeline:
                for channel, payload in batch:
                    pipeline.publish(channel, payload)
                try:
                    outcomes += map(outcome_of, await pipeline.execute())
                except RedisError as error:
                    raise translated_error(self._place, error) from error
        return outcomes

    async def aclose(self) -> None:
        """Close the connections. The next call opens new ones."""
        await self._own_redis.aclose()

    def _connect(self) -> redis.asyncio.Redis:
        retry = redis.asyncio.retry.Retry(BACKOFF, RETRIES)
        return redis.asyncio.Redis.from_url(self._redis_url, retry=retry, **self._options)


def outcome_of(processes: object) -> Outcome:
    """Return the outcome of a PUBLISH that reached `processes` Redis subscribers."""
    return Outcome(sent=processes if isinstance(processes, int) else 0, failed=0, stale=0)
