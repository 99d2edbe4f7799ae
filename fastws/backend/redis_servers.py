"""The Redis servers of a backend: which one holds a channel, and clients that follow Redis Sentinel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.backoff import NoBackoff
from redis.connection import parse_url

from fastws.backend.redis_connection import BACKOFF, RETRIES
from fastws.redis_address import RedisAddress
from fastws.redis_places import (
    ClusterAddress,
    Place,
    SentinelAddress,
    for_redis_py,
    identity_of,
    parse_places,
    plain_url,
    split_urls,
    url_of_node,
)
from fastws.rendezvous import position_of

if TYPE_CHECKING:
    from fastws.backend.redis_cluster import AsyncClusterPublisher, ClusterPublisher

# The first word of a primary's reply to ROLE, with and without decode_responses.
_PRIMARY: Final = (b"master", "master")


class RedisServers:
    """The places in `redis_url`, in their order. Channels are spread as the server spreads them."""

    def __init__(self, redis_url: str | Sequence[str]) -> None:
        text = redis_url if isinstance(redis_url, str) else ",".join(redis_url)
        self.places = parse_places(text, setting="`redis_url`")
        self._urls = split_urls(text)
        self._identities = [identity_of(place) for place in self.places]

    def position_of(self, channel: str) -> int:
        return position_of(channel, self._identities) if len(self._identities) > 1 else 0

    @property
    def is_cluster(self) -> bool:
        """Whether the only place is a Redis Cluster."""
        return isinstance(self.places[0], ClusterAddress)

    def client(self, position: int, options: dict[str, Any]) -> redis.Redis | ClusterPublisher:
        """Return a client of the server at `position`. It opens no connection yet."""
        place, url = self.places[position], self._urls[position]
        if isinstance(place, ClusterAddress):
            return self._cluster_publisher(place, options)
        options = {"retry": redis.retry.Retry(BACKOFF, RETRIES), **options}
        if isinstance(place, RedisAddress):
            return redis.Redis.from_url(for_redis_py(url), **options)
        from fastws.backend.redis_sentinel import primary_client

        return primary_client(place, options | _options(url, place))

    def _cluster_publisher(self, place: ClusterAddress, options: dict[str, Any]) -> ClusterPublisher:
        from fastws.backend.redis_cluster import ClusterPublisher

        once = {"retry": redis.retry.Retry(NoBackoff(), 0), **options}
        url = for_redis_py(self._urls[0])
        return ClusterPublisher(
            place.seeds,
            lambda node: redis.Redis.from_url(url_of_node(url, *node), **once),
        )

    def asyncio_client(self, position: int, options: dict[str, Any]) -> redis.asyncio.Redis | AsyncClusterPublisher:
        """Return a client of the server at `position` for asyncio."""
        place, url = self.places[position], self._urls[position]
        if isinstance(place, ClusterAddress):
            return self._asyncio_cluster_publisher(place, options)
        options = {"retry": redis.asyncio.retry.Retry(BACKOFF, RETRIES), **options}
        if isinstance(place, RedisAddress):
            return redis.asyncio.Redis.from_url(for_redis_py(url), **options)
        from fastws.backend.redis_sentinel import asyncio_primary_client

        return asyncio_primary_client(place, options | _options(url, place))

    def _asyncio_cluster_publisher(self, place: ClusterAddress, options: dict[str, Any]) -> AsyncClusterPublisher:
        from fastws.backend.redis_cluster import AsyncClusterPublisher

        once = {"retry": redis.asyncio.retry.Retry(NoBackoff(), 0), **options}
        url = for_redis_py(self._urls[0])
        return AsyncClusterPublisher(
            place.seeds,
            lambda node: redis.asyncio.Redis.from_url(url_of_node(url, *node), **once),
        )


def checked_replies(replies: list[Any], place: Place) -> list[Any]:
    """Return the replies to a batch of PUBLISH. At a place of Sentinel, one to ROLE follows them.

    Raises ReadOnlyError if a replica has answered: PUBLISH succeeds there, but reaches nobody else.
    """
    if isinstance(place, RedisAddress):
        return replies
    *outcomes, role = replies
    if role[0] not in _PRIMARY:
        raise redis.exceptions.ReadOnlyError("this server is a replica now, according to ROLE")
    return outcomes


def most_named(answers: Sequence[object]) -> tuple[str, int] | None:
    """Return the address that most Sentinels name, None if none names one."""
    votes = Counter(answer for answer in answers if isinstance(answer, tuple))
    if not votes:
        return None
    host, port = votes.most_common(1)[0][0]
    return host.decode() if isinstance(host, bytes) else str(host), int(port)


def _options(url: str, place: SentinelAddress) -> dict[str, Any]:
    """Return the options in a Sentinel URL as a pool of redis-py's Sentinel takes them."""
    read: Any = parse_url  # redis-py leaves it without types
    parsed: dict[str, Any] = read(for_redis_py(plain_url(url)))
    options = {name: value for name, value in parsed.items() if name not in ("host", "port", "connection_class")}
    return {**options, "ssl": True} if place.primary.tls is not None else options
