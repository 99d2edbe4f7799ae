"""Publishing directly to Redis, without a request to the server, for threads and for asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import redis
import redis.asyncio
from redis.exceptions import ReadOnlyError, RedisError

from fastws.backend.events import ADMIN_CHANNEL, ADMIN_EVENT, JOBS_CHANNEL, WORKSPACE_CHANNEL
from fastws.backend.lifetime import ClientOfLoop, ClientOfProcess, ClosedOnAsyncExit, ClosedOnExit
from fastws.backend.message import Message, from_body
from fastws.backend.publishing_methods import Outcome, PublishingMethods
from fastws.backend.redis_connection import translated_error
from fastws.backend.redis_encoding import Format, redis_publication
from fastws.backend.redis_servers import RedisServers, checked_replies
from fastws.errors import BadRequest, FastWSError
from fastws.redis_address import RedisAddress
from fastws.redis_places import Place

if TYPE_CHECKING:
    from fastws.backend.redis_cluster import AsyncClusterPublisher, ClusterPublisher

TIMEOUT_SECONDS = 5.0
PIPELINE_SIZE = 512  # publications per pipeline

Result = TypeVar("Result")
# The command, the Redis channel and the payload.
Publication = tuple[str, str, bytes]


class AnyRedisBroadcaster(PublishingMethods[Result]):
    """The parts that RedisBroadcaster and AsyncRedisBroadcaster share.

    `redis_url` is that of the server, or a list of its URLs; `prefix` and `prefix_feeds` must be the server's
    `redis_prefix` and `redis_prefix_feeds`. `format` is json, or
    msgpack for types that JSON lacks. In an outcome `sent` counts the server processes that received the message, not
    the clients, because that is what PUBLISH returns. Lost connections are retried, so a message may be delivered
    twice; use HTTP where that matters. Raises BrokerUnavailable, Unauthorized or BadRequest.
    """

    def __init__(
        self,
        redis_url: str | Sequence[str],
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
        self._servers = RedisServers(redis_url)
        self._options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._prefix = prefix
        self._prefix_feeds = prefix_feeds
        self._format: Format = format

    def broadcast_admin_event(self, data: object) -> Result:
        """Publish to channel `admin`. Single connections cannot be reached through Redis."""
        return self.publish(ADMIN_CHANNEL, ADMIN_EVENT, data)

    def _publication(self, message: Message) -> Publication:
        return redis_publication(
            message,
            prefix=self._prefix,
            encoding=self._format,
            prefix_feeds=self._prefix_feeds,
            is_cluster=self._servers.is_cluster,
        )

    def _batches(self, messages: list[Message]) -> Iterator[_Batch]:
        """Check and encode all messages before yielding the first batch."""
        encoded = [(self._position(message), self._publication(message)) for message in messages]
        for server in range(len(self._servers.places)):
            places = [place for place, (position, _) in enumerate(encoded) if position == server]
            for begin in range(0, len(places), PIPELINE_SIZE):
                batch = places[begin : begin + PIPELINE_SIZE]
                yield _Batch(server, batch, [encoded[place][1] for place in batch])

    def _position(self, message: Message) -> int:
        return self._servers.position_of(message.channel or "")

    def _translated(self, position: int, error: RedisError) -> FastWSError:
        return translated_error(str(self._servers.places[position]), error)


class _Batch(NamedTuple):
    """Publications for one server, and their places among the messages."""

    position: int
    places: list[int]
    publications: list[Publication]


class RedisBroadcaster(AnyRedisBroadcaster[Outcome], ClosedOnExit):
    """Publishes with PUBLISH over a connection pool. Thread-safe, and usable after a fork."""

    def __init__(self, redis_url: str | Sequence[str], **options: Any) -> None:
        super().__init__(redis_url, **options)
        # redis-py 8 renews its pool after a fork, but not the lock of it, which a thread of the parent may have held.
        self._own = [ClientOfProcess(partial(self._connect, n)) for n in range(len(self._servers.places))]
        for own in self._own:
            own.get()  # checks the URL, and opens no connection yet

    def deliver(self, message: Message) -> Outcome:
        (outcome,) = self._publish(self._position(message), [self._publication(message)])
        return outcome

    def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many messages in few round trips, each a dict with the fields of `POST /broadcast`."""
        outcomes: dict[int, Outcome] = {}
        for batch in self._batches([from_body(message) for message in messages]):
            published = self._publish(batch.position, batch.publications)
            outcomes.update(zip(batch.places, published, strict=True))
        return [outcomes[place] for place in sorted(outcomes)]

    def _publish(self, position: int, publications: list[Publication]) -> list[Outcome]:
        """Publish on one server, in one round trip. Once more if that is found to be a replica."""
        client, place = self._own[position].get(), self._servers.places[position]
        try:
            if not isinstance(client, redis.Redis):
                return list(map(outcome_of, client.publish_all(publications)))
            try:
                return self._publish_once(client, place, publications)
            except ReadOnlyError:
                client.connection_pool.disconnect()
                return self._publish_once(client, place, publications)
        except RedisError as error:
            raise self._translated(position, error) from error

    def _publish_once(self, client: redis.Redis, place: Place, publications: list[Publication]) -> list[Outcome]:
        if len(publications) == 1 and isinstance(place, RedisAddress):
            ((_, channel, payload),) = publications
            return [outcome_of(client.publish(channel, payload))]
        with client.pipeline(transaction=False) as pipeline:
            for _, channel, payload in publications:
                pipeline.publish(channel, payload)
            if not isinstance(place, RedisAddress):
                pipeline.role()
            return list(map(outcome_of, checked_replies(pipeline.execute(), place)))

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        for own in self._own:
            own.close()

    def _connect(self, position: int) -> redis.Redis | ClusterPublisher:
        return self._servers.client(position, self._options)


class AsyncRedisBroadcaster(AnyRedisBroadcaster[Awaitable[Outcome]], ClosedOnAsyncExit):
    """RedisBroadcaster for asyncio: the same methods as coroutines."""

    def __init__(self, redis_url: str | Sequence[str], **options: Any) -> None:
        super().__init__(redis_url, **options)
        self._own = [ClientOfLoop(partial(self._connect, n)) for n in range(len(self._servers.places))]

    async def deliver(self, message: Message) -> Outcome:
        (outcome,) = await self._publish(self._position(message), [self._publication(message)])
        return outcome

    async def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many messages in few round trips; see RedisBroadcaster.publish_many."""
        outcomes: dict[int, Outcome] = {}
        for batch in self._batches([from_body(message) for message in messages]):
            published = await self._publish(batch.position, batch.publications)
            outcomes.update(zip(batch.places, published, strict=True))
        return [outcomes[place] for place in sorted(outcomes)]

    async def _publish(self, position: int, publications: list[Publication]) -> list[Outcome]:
        """Publish on one server, in one round trip. Once more if that is found to be a replica."""
        client, place = self._own[position].get(), self._servers.places[position]
        try:
            if not isinstance(client, redis.asyncio.Redis):
                return list(map(outcome_of, await client.publish_all(publications)))
            try:
                return await self._publish_once(client, place, publications)
            except ReadOnlyError:
                await client.connection_pool.disconnect()
                return await self._publish_once(client, place, publications)
        except RedisError as error:
            raise self._translated(position, error) from error

    async def _publish_once(
        self, client: redis.asyncio.Redis, place: Place, publications: list[Publication]
    ) -> list[Outcome]:
        if len(publications) == 1 and isinstance(place, RedisAddress):
            ((_, channel, payload),) = publications
            return [outcome_of(await client.publish(channel, payload))]
        async with client.pipeline(transaction=False) as pipeline:
            for _, channel, payload in publications:
                pipeline.publish(channel, payload)
            if not isinstance(place, RedisAddress):
                pipeline.role()
            return list(map(outcome_of, checked_replies(await pipeline.execute(), place)))

    async def aclose(self) -> None:
        """Close the connections. The next call opens new ones."""
        for own in self._own:
            await own.aclose()

    def _connect(self, position: int) -> redis.asyncio.Redis | AsyncClusterPublisher:
        return self._servers.asyncio_client(position, self._options)


def outcome_of(processes: object) -> Outcome:
    """Return the outcome of a PUBLISH that reached `processes` Redis subscribers."""
    return Outcome(sent=processes if isinstance(processes, int) else 0, failed=0, stale=0)
