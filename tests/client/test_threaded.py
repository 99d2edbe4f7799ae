import asyncio
import queue
import threading

import pytest

from fastws.client.threaded import ThreadedClient
from fastws.errors import BadRequest, Unavailable
from tests.forked import printed


def in_thread(function, *args):
    """Run a blocking function outside the peer's loop, with a time limit."""
    return asyncio.wait_for(asyncio.to_thread(function, *args), 5)


async def test_plain_calls_return_what_the_server_replied(peer):
    def use():
        with ThreadedClient(peer.url, ["a"]) as client:
            assert client.connected
            client.subscribe("b")
            client.unsubscribe("b")
            return client.connection_id, client.send("a", "e", 1), client.send_to("x", "e"), client.ping() > 0

    assert await in_thread(use) == ("c1", {"sent": 2, "failed": 1}, {"sent": 2, "failed": 1}, True)
    assert [(await peer.asked()).get("channel") for _ in range(4)] == ["a", "b", "b", "a"]


async def test_messages_are_iterated_in_order_until_the_close(peer):
    client = await in_thread(ThreadedClient, peer.url)
    for number in range(5):
        await peer.say({"event": "e", "data": number})

    def read():
        messages = [client.receive(5) for _ in range(5)]
        with pytest.raises(TimeoutError):
            client.receive(0.01)
        return [message["data"] for message in messages]

    assert await in_thread(read) == [0, 1, 2, 3, 4]
    iterating = asyncio.create_task(in_thread(list, client))
    await in_thread(client.close)
    assert await iterating == []
    assert client.receive() is None


async def test_messages_go_to_a_callback_in_the_clients_thread(peer):
    heard = queue.SimpleQueue()

    def take(message):
        heard.put((message["data"], threading.current_thread().name))
        if message["data"] == 0:
            raise ValueError("once")

    client = await in_thread(lambda: ThreadedClient(peer.url, on_message=take))
    await peer.say({"event": "e", "data": 0})
    await peer.say({"event": "e", "data": 1})
    assert await in_thread(lambda: [heard.get(), heard.get()]) == [(0, "fastws client"), (1, "fastws client")]
    await in_thread(client.close)


async def test_a_call_from_the_callback_is_refused_instead_of_blocking_forever(peer):
    raised = queue.SimpleQueue()

    def take(message):
        for call in (client.ping, client.close):
            try:
                call()
            except BadRequest as error:
                raised.put(str(error))

    client = await in_thread(lambda: ThreadedClient(peer.url, on_message=take))
    await peer.say({"event": "e", "data": 0})
    for _ in range(2):
        assert "another thread" in await in_thread(raised.get)
    await in_thread(client.close)


async def test_many_threads_may_call_at_once(peer):
    client = await in_thread(ThreadedClient, peer.url)
    results = await asyncio.gather(*(in_thread(client.send, "a", "e", number) for number in range(20)))
    assert results == [{"sent": 2, "failed": 1}] * 20
    assert sorted([(await peer.asked())["data"] for _ in range(20)]) == list(range(20))
    await in_thread(client.close)


async def test_calls_after_the_close_raise_an_error_and_the_thread_has_ended(peer):
    client = await in_thread(ThreadedClient, peer.url)
    await in_thread(client.close)
    await in_thread(client.close)
    with pytest.raises(Unavailable, match="closed"):
        client.ping()
    assert "fastws client" not in [thread.name for thread in threading.enumerate()]


async def test_close_ends_a_call_that_waits(peer):
    peer.replies["ping"] = None
    client = await in_thread(ThreadedClient, peer.url)
    pinging = asyncio.create_task(in_thread(client.ping))
    await peer.asked()
    await in_thread(client.close)
    with pytest.raises(Unavailable):
        await pinging


async def test_a_server_that_cannot_be_reached_leaves_no_thread_behind(peer):
    await peer.stop()
    with pytest.raises(Unavailable, match="fastws serve"):
        await in_thread(lambda: ThreadedClient(peer.url, connect_timeout=0.05))
    assert "fastws client" not in [thread.name for thread in threading.enumerate()]


async def test_the_final_error_is_raised_to_the_reader(peer):
    client = await in_thread(lambda: ThreadedClient(peer.url, reconnect=False))
    await peer.connections[-1].close(1013, "slow consumer")
    with pytest.raises(Unavailable, match="slow consumer"):
        await in_thread(client.receive)
    await in_thread(client.close)


async def test_the_last_of_subscribe_and_unsubscribe_wins_over_a_lost_connection(peer):
    def use(words):
        for word in words:
            getattr(client, word)("a")

    client = await in_thread(lambda: ThreadedClient(peer.url, first_delay=0.0, longest_delay=0.0))
    for words in (["subscribe", "unsubscribe", "subscribe"], ["unsubscribe"], ["unsubscribe", "subscribe"]):
        await peer.connections[-1].close(1012, "")
        await in_thread(use, words)
        while not peer.requests.empty():
            peer.requests.get_nowait()
        await peer.connections[-1].close(1012, "")
        await in_thread(client.subscribe, "last")
        restored = {(await peer.asked())["channel"]}
        while not peer.requests.empty():
            restored.add((await peer.asked())["channel"])
        assert restored == ({"a", "last"} if words[-1] == "subscribe" else {"last"})
        await in_thread(client.unsubscribe, "last")
    await in_thread(client.close)


async def test_a_child_of_a_fork_gets_an_error_instead_of_waiting_forever(peer):
    source = """
import sys
from fastws.client.threaded import ThreadedClient
from fastws.errors import BadRequest

def use():
    for call in (client.ping, client.receive):
        try:
            call()
        except BadRequest as error:
            assert "after the fork" in str(error)
        else:
            raise AssertionError("no error")
    client.close()

def hold():
    with client._calling:
        pause()

with ThreadedClient(sys.argv[1]) as client:
    fork_during(hold, use)
    assert client.ping() > 0
"""
    assert await asyncio.wait_for(asyncio.to_thread(printed, source, peer.url), 100) == "0"


@pytest.mark.parametrize("patched", ["", "thread=False", "socket=False, select=False"])
def test_under_gevent_it_names_what_to_use_instead(patched):
    source = f"""
from gevent import monkey
monkey.patch_all({patched})
from fastws.client.threaded import ThreadedClient
from fastws.errors import BadRequest
for _ in range(2):
    try:
        ThreadedClient("ws://127.0.0.1:1")
    except BadRequest as error:
        print("websocket-client" in str(error))
"""
    assert printed(source).split() == ["True", "True"]


def test_gevent_without_monkey_patching_is_allowed():
    source = """
import gevent.monkey
from fastws.client.threaded import ThreadedClient
from fastws.errors import Unavailable
try:
    ThreadedClient("ws://127.0.0.1:1", connect_timeout=0.1)
except Unavailable:
    print("connecting")
"""
    assert printed(source) == "connecting"
