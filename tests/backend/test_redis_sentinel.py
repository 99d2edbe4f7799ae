"""A backend that publishes through Redis Sentinel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from fastws.backend import AsyncRedisBroadcaster, RedisBroadcaster
from fastws.backend.redis_servers import checked_replies, most_named
from fastws.errors import BrokerUnavailable
from fastws.redis_places import parse_place
from tests.redis_sentinel import SentinelSetUp

MESSAGES = [{"channel": "a", "event": "e", "data": number} for number in range(3)]


@contextmanager
def hears(set_up: SentinelSetUp) -> Iterator[None]:
    """A subscriber on the primary."""
    with set_up.primary.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("fastws:channel:a")
        listener.get_message(timeout=5.0)
        yield


@pytest.mark.parametrize("protocol", [2, 3])
def test_publications_go_to_the_primary(sentinel_set_up: SentinelSetUp, protocol: int) -> None:
    with hears(sentinel_set_up), RedisBroadcaster(f"{sentinel_set_up.url}?protocol={protocol}") as backend:
        assert backend.publish("a", "e", 1)["sent"] == 1
        assert [outcome["sent"] for outcome in backend.publish_many(MESSAGES)] == [1, 1, 1]


async def test_publications_go_to_the_primary_in_asyncio(sentinel_set_up: SentinelSetUp) -> None:
    with hears(sentinel_set_up):
        async with AsyncRedisBroadcaster(sentinel_set_up.url) as backend:
            assert (await backend.publish("a", "e", 1))["sent"] == 1
            assert [outcome["sent"] for outcome in await backend.publish_many(MESSAGES)] == [1, 1, 1]


async def test_a_primary_demoted_with_its_connections_alive_is_left(sentinel_set_up: SentinelSetUp) -> None:
    with RedisBroadcaster(sentinel_set_up.url) as backend:
        async with AsyncRedisBroadcaster(sentinel_set_up.url) as backend_in_asyncio:
            backend.publish("a", "e", 1)
            await backend_in_asyncio.publish("a", "e", 1)
            sentinel_set_up.replace_primary_by_hand()
            with hears(sentinel_set_up):
                assert backend.publish("a", "e", 2)["sent"] == 1
                assert (await backend_in_asyncio.publish("a", "e", 2))["sent"] == 1
            sentinel_set_up.wait_until_whole()


def test_no_sentinel_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastws.backend.redis_servers.RETRIES", 1)
    with (
        RedisBroadcaster("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main", timeout=0.1) as backend,
        pytest.raises(BrokerUnavailable, match="no Sentinel names a primary of main"),
    ):
        backend.publish("a", "e", 1)


def test_the_address_that_most_sentinels_name() -> None:
    assert most_named([("a", "1"), ("b", "2"), redis.ConnectionError(), ("b", "2")]) == ("b", 2)
    assert most_named([redis.ConnectionError()]) is None


def test_replies_of_a_replica_are_an_error() -> None:
    place = parse_place("redis+sentinel://a/main")
    assert checked_replies([1, 2, [b"master", 0, []]], place) == [1, 2]
    with pytest.raises(redis.exceptions.ReadOnlyError):
        checked_replies([1, 2, [b"slave", b"h", 1, b"connected", 0]], place)
    assert checked_replies([1, 2], parse_place("redis://a")) == [1, 2]
