import asyncio
import itertools

import pytest

from fastws.client import connect
from fastws.errors import Forbidden, RateLimited, Unavailable

WORDS = ("subscribe", "unsubscribe")
ORDERS = [order for length in range(1, 6) for order in itertools.product(WORDS, repeat=length)]
FOR_NOW = {"type": "error", "code": "rate_limited", "message": "later"}
NEVER = {"type": "error", "code": "forbidden", "message": "no"}


def client_of(peer, *args, **options):
    return connect(peer.url, *args, **{"first_delay": 0.0, "longest_delay": 0.0, **options})


async def until(client, kind):
    async with asyncio.timeout(5):
        async for message in client:
            if message["type"] == kind:
                return message
    raise AssertionError(kind)


def in_force(peer):
    """The subscriptions of the latest connection."""
    names = set()
    while not peer.requests.empty():
        request = peer.requests.get_nowait()
        if request["action"] == "subscribe":
            names.add(request["channel"])
        elif request["action"] == "unsubscribe":
            names.discard(request["channel"])
        elif request["action"] == "fresh":
            names.clear()
    return names


def begin(client, order):
    """The calls in `order`, each begun before the next and none awaited."""
    return [asyncio.create_task(getattr(client, word)("a")) for word in order]


def forget(peer):
    while not peer.requests.empty():
        peer.requests.get_nowait()


@pytest.mark.parametrize("state", ["connected", "lost amid the calls", "away", "settling"])
async def test_in_every_order_and_state_the_last_call_holds(peer, state):
    async with client_of(peer) as client:
        for order in ORDERS:
            forget(peer)
            if state == "lost amid the calls":
                peer.replies = {"subscribe": [1011], "unsubscribe": [1011]}
            if state == "away":
                peer.connections[-1].transport.abort()
                await until(client, "disconnected")
            if state == "settling":
                while not peer.arrivals.empty():
                    peer.arrivals.get_nowait()
                await peer.connections[-1].close(1012, "")
                await asyncio.wait_for(peer.arrivals.get(), 5)  # greeted, and has asked for nothing yet
            calls = begin(client, order)
            await asyncio.wait_for(asyncio.gather(*calls), 10)
            peer.replies = {}
            await client.ping()
            wanted = {"a"} if order[-1] == "subscribe" else set()
            if state in ("connected", "settling"):
                assert in_force(peer) == wanted, order
            forget(peer)
            await peer.connections[-1].close(1012, "")
            await until(client, "disconnected")
            await client.ping()
            assert in_force(peer) == wanted, order
            await client.unsubscribe("a")


async def test_each_change_is_sent_once_in_the_order_of_the_calls(peer):
    async with client_of(peer) as client:
        calls = [
            client.subscribe("a"),
            client.unsubscribe("a"),
            client.send("a", "e"),
            client.subscribe("b", "a"),
            client.ping(),
        ]
        await asyncio.gather(*map(asyncio.create_task, calls))
        asked = [await peer.asked() for _ in range(6)]
    said = [(request["action"], request.get("channel")) for request in asked]
    assert said == [
        ("subscribe", "a"),
        ("unsubscribe", "a"),
        ("send", "a"),
        ("subscribe", "b"),
        ("subscribe", "a"),
        ("ping", None),
    ]


async def test_a_refusal_concerns_its_own_request_and_no_later_one(peer):
    peer.replies["subscribe"] = [NEVER]
    async with client_of(peer) as client:
        results = await asyncio.gather(*begin(client, ["subscribe", *WORDS[::-1]]), return_exceptions=True)
        assert isinstance(results[0], Forbidden)
        assert results[1:] == [None, None]
        forget(peer)
        await peer.connections[-1].close(1012, "")
        await until(client, "reconnected")
        await client.ping()
        assert in_force(peer) == {"a"}


async def test_a_change_that_is_refused_after_a_reconnect_raises_only_in_its_call(peer):
    async with client_of(peer) as client:
        peer.connections[-1].transport.abort()
        await until(client, "disconnected")
        peer.replies["subscribe"] = [NEVER]
        with pytest.raises(Forbidden):
            await client.subscribe("a")
        await client.subscribe("b")
        assert await until(client, "reconnected")
        await peer.say({"type": "last"})
        assert (await anext(client))["type"] == "last"


async def test_a_second_subscription_refused_for_now_leaves_the_first(peer):
    async with client_of(peer, ["a"]) as client:
        peer.replies["subscribe"] = [FOR_NOW]
        with pytest.raises(RateLimited):
            await client.subscribe("a")
        forget(peer)
        await peer.connections[-1].close(1012, "")
        await until(client, "reconnected")
        await client.ping()
        assert in_force(peer) == {"a"}


async def test_a_caller_that_gives_up_leaves_the_others_whole(peer):
    peer.replies["subscribe"] = [None, {"type": "done"}]
    async with client_of(peer, request_timeout=0.05) as client:
        with pytest.raises(Unavailable, match="no answer"):
            await client.subscribe("a")
    async with client_of(peer) as client:
        await client.subscribe("b")


async def test_the_end_of_the_client_is_the_end_of_every_call(peer):
    peer.replies["subscribe"] = None
    async with client_of(peer) as client:
        waiting = asyncio.create_task(client.subscribe("a"))
        await peer.asked()
        await client.close()
        with pytest.raises(Unavailable, match="closed"):
            await waiting
        with pytest.raises(Unavailable, match="closed"):
            await client.unsubscribe("a")
