import asyncio
import inspect

import orjson
import pytest
import redis

from fastws.backend import (
    AsyncRedisBroadcaster,
    BadRequest,
    Broadcaster,
    BrokerUnavailable,
    ConfigError,
    RedisBroadcaster,
)
from tests.forked import printed


@pytest.fixture
def heard(redis_url):
    """Subscribes to every channel: call it for the next (channel, object)."""
    connection = redis.Redis.from_url(redis_url)
    subscriber = connection.pubsub()
    subscriber.psubscribe("*")
    assert subscriber.get_message(timeout=5)["type"] == "psubscribe"

    def next_message():
        message = subscriber.get_message(timeout=5)
        return message["channel"].decode(), orjson.loads(message["data"])

    yield next_message
    subscriber.close()
    connection.close()


@pytest.fixture(params=[RedisBroadcaster, AsyncRedisBroadcaster])
def call(request, redis_url):
    """Runs one method of the broadcaster, sync or async, and returns its result."""

    def run(method, *args, **kwargs):
        broadcaster = request.param(redis_url)

        async def awaited():
            async with broadcaster:
                return await getattr(broadcaster, method)(*args, **kwargs)

        if request.param is AsyncRedisBroadcaster:
            return asyncio.run(awaited())
        with broadcaster:
            return getattr(broadcaster, method)(*args, **kwargs)

    return run


def test_publish_reaches_redis_and_counts_the_processes_that_heard(call, heard):
    assert call("publish", "admin", "e", {"a": 1}, type="t") == {"sent": 1, "failed": 0, "stale": 0}
    assert heard() == ("fastws:channel:admin", {"event": "e", "data": {"a": 1}, "type": "t"})


def test_the_named_calls_reach_their_feeds(call, heard):
    call("job_update", "7", "failed")
    channel, body = heard()
    assert (channel, body["job_id"], body["data"]["status"]) == ("botrix:jobs:updates", "7", "failed")
    call("broadcast_metrics_update", "w", {"n": 1})
    channel, body = heard()
    assert (channel, body["event"], body["data"]) == ("workspace:w", "metrics_update", {"n": 1})
    call("execution_update", "1", {"status": "running"})
    assert heard()[0] == "fastws:channel:execution:1"
    call("broadcast_admin_event", {"type": "t"})
    assert heard() == ("fastws:channel:admin", {"event": "admin_event", "data": {"type": "t"}})


def test_many_are_published_in_order_over_several_pipelines(call, heard):
    outcomes = call("publish_many", [{"channel": "c", "event": "e", "data": n} for n in range(1100)])
    assert len(outcomes) == 1100
    assert all(outcome["sent"] == 1 for outcome in outcomes)
    assert [heard()[1]["data"] for _ in range(1100)] == list(range(1100))


def test_one_bad_message_stops_all_before_the_first(call, heard):
    with pytest.raises(BadRequest, match="`event`"):
        call("publish_many", [{"channel": "c", "event": "e"}, {"channel": "c"}])
    call("publish", "c", "only")
    assert heard()[1]["event"] == "only"


@pytest.mark.parametrize(
    ("method", "argument"), [("publish", ("c", "e")), ("publish_many", ([{"channel": "c", "event": "e"}],))]
)
def test_an_unreachable_redis_is_named(method, argument, tmp_path, monkeypatch):
    monkeypatch.setattr("fastws.backend.redis_servers.RETRIES", 1)
    url = f"unix://{tmp_path}/none.sock"

    async def awaited():
        async with AsyncRedisBroadcaster(url) as broadcaster:
            await getattr(broadcaster, method)(*argument)

    with pytest.raises(BrokerUnavailable, match=r"none\.sock"):
        asyncio.run(awaited())
    with RedisBroadcaster(url) as broadcaster, pytest.raises(BrokerUnavailable, match=r"none\.sock"):
        getattr(broadcaster, method)(*argument)


def test_an_async_broadcaster_outlives_the_loop_it_was_used_on(redis_url):
    broadcaster = AsyncRedisBroadcaster(redis_url)

    async def use():
        await broadcaster.publish("c", "e")
        await broadcaster._own[0].get().aclose()

    asyncio.run(use())
    asyncio.run(use())


def test_wrong_options_are_refused_with_what_is_right():
    with pytest.raises(ConfigError, match="redis://"):
        RedisBroadcaster("http://host")
    with pytest.raises(BadRequest, match="json or msgpack"):
        RedisBroadcaster("redis://host", format="xml")


# Redis knows neither the connections nor what the server keeps.
OVER_HTTP_ONLY = ("close", "register_connection", "history", "channels", "presence")


def test_it_has_the_calls_of_the_broadcaster_over_http():
    for name, method in inspect.getmembers(Broadcaster, inspect.isfunction):
        if not name.startswith("_") and name not in OVER_HTTP_ONLY:
            for kind in (RedisBroadcaster, AsyncRedisBroadcaster):
                ours = inspect.signature(getattr(kind, name)).parameters
                assert list(ours) == list(inspect.signature(method).parameters)


def test_a_child_publishes_that_was_forked_while_another_thread_made_the_first_call(redis_url):
    source = """
import sys
from fastws.backend import RedisBroadcaster

def publish():
    assert broadcaster.publish("c", "e") == {"sent": 0, "failed": 0, "stale": 0}

def connect():
    if threading.current_thread() is not threading.main_thread():
        pause()
    return original()

with RedisBroadcaster(sys.argv[1]) as broadcaster:
    pool = broadcaster._own[0].get().connection_pool
    original, pool.make_connection = pool.make_connection, connect
    fork_during(publish, publish)
"""
    assert printed(source, redis_url) == "0"
