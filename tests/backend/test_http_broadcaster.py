import asyncio
import inspect
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from fastws.backend import (
    AsyncBroadcaster,
    BadRequest,
    Broadcaster,
    BrokerUnavailable,
    FastWSError,
    Forbidden,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from tests.forked import printed

OUTCOME = {"sent": 5, "failed": 0, "stale": 0}
BUSY = (503, {}, {"error": {"code": "unavailable", "message": "draining"}})


@pytest.fixture(params=[Broadcaster, AsyncBroadcaster])
def call(request, peer):
    """Runs one method of the broadcaster, sync or async, and returns its result."""

    def run(method, *args, retry_seconds=5.0, **kwargs):
        broadcaster = request.param(peer.url, "key", retry_seconds=retry_seconds)

        async def awaited():
            async with broadcaster:
                return await getattr(broadcaster, method)(*args, **kwargs)

        if request.param is AsyncBroadcaster:
            return asyncio.run(awaited())
        with broadcaster:
            return getattr(broadcaster, method)(*args, **kwargs)

    return run


def test_publish_posts_the_message_with_the_key_and_returns_the_outcome(call, peer):
    peer.answers = [(200, {}, OUTCOME)]
    assert call("publish", "admin", "e", {"a": 1}, type="t") == OUTCOME
    request = peer.requests[0]
    assert (request.path, request.headers["Authorization"]) == ("/broadcast", "Bearer key")
    message_id = request.body.pop("message_id")
    assert len(message_id) == 32
    assert request.body == {"channel": "admin", "event": "e", "data": {"a": 1}, "type": "t"}


def test_send_reaches_one_connection(call, peer):
    peer.gone = {"abc"}
    assert call("send", "abc", "e", 1) == {"sent": 0, "failed": 0, "stale": 1}
    assert peer.bodies[0]["connectionId"] == "abc"


def test_publish_many_is_one_request_and_outcomes_keep_the_order(call, peer):
    peer.gone = {"x"}
    messages = [{"channel": "c", "event": "e", "data": 1}, {"connectionId": "x", "event": "e"}]
    assert [outcome["stale"] for outcome in call("publish_many", messages)] == [0, 1]
    assert [sorted(message) for message in peer.bodies[0]["messages"]] == [
        ["channel", "data", "event", "message_id"],
        ["connectionId", "data", "event", "message_id"],
    ]
    assert call("publish_many", []) == []


@pytest.mark.parametrize("trouble", ["break", BUSY, (502, {}, b"<html>"), (504, {}, b""), (429, {}, b"")])
def test_temporary_failures_are_retried_with_the_same_message_id(call, peer, trouble):
    peer.answers = [trouble, trouble]
    assert call("publish", "c", "e")["sent"] == 1
    assert len(peer.bodies) == 3
    assert len({body["message_id"] for body in peer.bodies}) == 1


def test_only_the_messages_of_a_batch_that_redis_did_not_accept_are_retried(call, peer):
    away = {"sent": 0, "failed": 0, "stale": 0, "error": {"code": "broker_unavailable", "message": "away"}}
    peer.answers = [(200, {}, {"results": [OUTCOME, away]})]
    outcomes = call("publish_many", [{"channel": "c", "event": "first"}, {"channel": "c", "event": "second"}])
    assert [outcome["sent"] for outcome in outcomes] == [5, 1]
    first, retry = peer.bodies
    assert retry["messages"] == [first["messages"][1]]


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (400, BadRequest, "`event` is missing"),
        (401, Unauthorized, "FASTWS_BROADCAST_KEY"),
        (403, Forbidden, "does not allow"),
        (413, TooLarge, "max_message_bytes"),
        (500, FastWSError, "500"),
    ],
)
def test_a_refusal_is_raised_at_once_with_the_servers_text_and_advice(call, peer, status, error, text):
    peer.answers = [(status, {}, {"error": {"code": "c", "message": "`event` is missing"}})]
    with pytest.raises(error, match=text) as caught:
        call("publish", "c", "e")
    assert type(caught.value) is error
    assert "`event` is missing" in str(caught.value)
    assert len(peer.requests) == 1


def test_retry_after_within_the_limit_is_waited_for_and_beyond_it_is_raised(call, peer):
    peer.answers = [(429, {"Retry-After": "1"}, b"")]
    assert call("publish", "c", "e", retry_seconds=5.0)["sent"] == 1
    peer.answers = [(429, {"Retry-After": "60"}, {"error": {"code": "rate_limited", "message": "slow"}})]
    with pytest.raises(RateLimited, match=r"slow.*broadcast_rate") as caught:
        call("publish", "c", "e", retry_seconds=5.0)
    assert caught.value.retry_after_seconds == 60
    assert len(peer.requests) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (BUSY, Unavailable),
        ((503, {}, {"error": {"code": "broker_unavailable", "message": "m"}}), BrokerUnavailable),
    ],
)
def test_a_temporary_failure_that_outlasts_retry_seconds_is_raised(call, peer, answer, error):
    peer.answers = [answer] * 2
    with pytest.raises(error):
        call("publish", "c", "e", retry_seconds=0)
    assert len(peer.requests) == 1


def test_an_unreachable_server_is_named_with_what_to_check(peer):
    peer.server.shutdown()
    peer.server.server_close()
    with Broadcaster(peer.url, "key", retry_seconds=0) as broadcaster, pytest.raises(Unavailable) as caught:
        broadcaster.publish("c", "e")
    assert peer.url in str(caught.value)
    assert "fastws serve" in str(caught.value)


@pytest.mark.parametrize("answer", [b"<html>login</html>", {"results": 5}, [], {"sent": 1}])
def test_an_answer_that_is_not_an_outcome_raises_an_error(call, peer, answer):
    peer.answers = [(200, {}, answer)]
    with pytest.raises(FastWSError, match="is it a fastws server"):
        call("publish", "c", "e")


def test_admin_event_reaches_channel_and_registered_once_and_forgets_the_gone(peer):
    with Broadcaster(peer.url, "key") as broadcaster:
        broadcaster.register_connection("here")
        broadcaster.register_connection("left")
        peer.gone = {"left"}
        assert broadcaster.broadcast_admin_event({"type": "test"}) == {"sent": 2, "failed": 0, "stale": 1}
        assert broadcaster.broadcast_admin_event({"type": "test"}) == {"sent": 2, "failed": 0, "stale": 0}
    channel, here = peer.bodies[1]["messages"]
    assert (channel["channel"], channel["exclude"]) == ("admin", ["here"])
    assert here["connectionId"] == "here"
    with pytest.raises(BadRequest, match="connection id"):
        broadcaster.register_connection("")


async def test_admin_event_of_the_async_broadcaster_forgets_the_gone_too(peer):
    async with AsyncBroadcaster(peer.url, "key") as broadcaster:
        broadcaster.register_connection("left")
        peer.gone = {"left"}
        assert await broadcaster.broadcast_admin_event({}) == {"sent": 1, "failed": 0, "stale": 1}
        assert await broadcaster.broadcast_admin_event({}) == {"sent": 1, "failed": 0, "stale": 0}


def test_threads_share_the_kept_connections_from_the_first_call_on(peer):
    ready = threading.Barrier(8)

    def publish(number):
        ready.wait()
        broadcaster.publish("c", "e", number)
        return broadcaster._client()

    with Broadcaster(peer.url, "key") as broadcaster, ThreadPoolExecutor(8) as threads:
        clients = list(threads.map(publish, range(8)))
    assert len(set(map(id, clients))) == 1
    assert sorted(body["data"] for body in peer.bodies) == list(range(8))


def test_after_a_fork_the_child_opens_its_own_connections(peer, monkeypatch):
    pids = [1]
    monkeypatch.setattr(os, "getpid", lambda: pids[0])
    with Broadcaster(peer.url, "key") as broadcaster:
        parent = broadcaster._client()
        pids[0] = 2
        child = broadcaster._client()
        assert child is not parent
        assert broadcaster._client() is child
        parent.close()


def test_a_child_publishes_that_was_forked_while_another_thread_made_the_first_call(peer):
    source = """
import sys, httpx
from fastws.backend import Broadcaster

class Slow(httpx.Client):
    def __init__(self):
        if threading.current_thread() is not threading.main_thread():
            pause()
        super().__init__()

def publish():
    assert broadcaster.publish("c", "e")["sent"] == 1

httpx.Client = Slow
with Broadcaster(sys.argv[1], "key") as broadcaster:
    fork_during(publish, publish)
"""
    assert printed(source, peer.url) == "0"
    assert len(peer.requests) == 2


def test_the_first_call_imports_nothing(peer):
    """A fork in the middle of an import would leave the child with an import lock that nobody releases."""
    source = """
import sys
from fastws.backend import Broadcaster
before = set(sys.modules)
with Broadcaster(sys.argv[1], "key") as broadcaster:
    broadcaster.register_connection("abc")
    broadcaster.publish_many([{"channel": "c", "event": "e", "data": 1}])
    broadcaster.broadcast_admin_event(None)
print(sorted(set(sys.modules) - before))
"""
    assert printed(source, peer.url.replace("127.0.0.1", "localhost")) == "[]"


def test_greenlets_of_gevent_publish_at_the_same_time(peer):
    source = """
import sys
from gevent import monkey, pool
monkey.patch_all()
from fastws.backend import Broadcaster
with Broadcaster(sys.argv[1], "key") as broadcaster:
    print(sum(pool.Pool(5).map(lambda number: broadcaster.publish("c", "e", number)["sent"], range(20))))
"""
    assert printed(source, peer.url) == "20"


def test_an_async_broadcaster_outlives_the_loop_it_was_used_on(peer):
    broadcaster = AsyncBroadcaster(peer.url, "key")

    async def use(close):
        await broadcaster.publish("c", "e")
        await broadcaster._client().aclose()
        if close:
            await broadcaster.aclose()

    asyncio.run(use(close=False))
    asyncio.run(use(close=True))
    assert len(peer.requests) == 2


def test_a_given_client_is_used_and_left_open(peer):
    with httpx.Client(headers={"X-Mine": "yes"}) as client:
        with Broadcaster(peer.url, "key", client=client) as broadcaster:
            broadcaster.publish("c", "e")
        assert not client.is_closed
    assert peer.requests[0].headers["X-Mine"] == "yes"


def test_the_async_broadcaster_has_every_method_with_the_same_arguments():
    for name, method in inspect.getmembers(Broadcaster, inspect.isfunction):
        if not name.startswith("_") and name != "close":
            assert list(inspect.signature(getattr(AsyncBroadcaster, name)).parameters) == list(
                inspect.signature(method).parameters
            )


def test_ephemeral_is_true_or_false(call, peer):
    call("publish", "a", "e", ephemeral=True)
    call("publish", "a", "e", ephemeral=False)
    assert [body.get("ephemeral") for body in peer.bodies] == [True, None]
    with pytest.raises(BadRequest, match="ephemeral"):
        call("publish", "a", "e", ephemeral="yes")
