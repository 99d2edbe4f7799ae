import asyncio
import contextlib

import pytest
from websockets.asyncio.client import connect as open_websocket

from fastws.client.client_dialect import CLIENT_DIALECTS
from fastws.client.formats import JSON
from fastws.client.inbox import Inbox
from fastws.client.keepalive import TimedConnection
from fastws.client.link import ConnectionLost, Link
from fastws.client.positions import Mark, Position
from fastws.errors import Forbidden

PING = {"action": "ping"}


@contextlib.asynccontextmanager
async def linked(peer):
    """A link to the peer that reads, and the messages that it passes on."""
    peer.greets = False
    received = asyncio.Queue()
    async with open_websocket(peer.url) as connection:
        link = Link(connection, JSON, CLIENT_DIALECTS["channels"], received.put_nowait)
        reading = asyncio.create_task(link.read_until_closed())
        await peer.arrivals.get()
        yield link, received, reading
    await reading


async def test_requests_have_ids_of_their_own_and_get_their_replies_in_any_order(peer):
    peer.replies["ping"] = None
    async with linked(peer) as (link, received, _):
        first, second = (asyncio.create_task(link.request({**PING, "n": n})) for n in (1, 2))
        ids = [(await peer.requests.get())["id"] for _ in range(2)]
        assert len(set(ids)) == 2
        for number in reversed(ids):
            await peer.say({"type": "pong", "id": number, "for": number})
        assert [(await first)["for"], (await second)["for"]] == ids
        assert received.empty()


async def test_an_error_reply_raises_its_error(peer):
    peer.replies["ping"] = {"type": "error", "code": "forbidden", "message": "not allowed"}
    async with linked(peer) as (link, _, _):
        with pytest.raises(Forbidden, match="not allowed"):
            await link.request(PING)


async def test_an_error_with_data_is_an_ordinary_reply(peer):
    peer.replies["ping"] = {"type": "error", "data": 1}
    async with linked(peer) as (link, _, _):
        assert (await link.request(PING))["data"] == 1


@pytest.mark.parametrize("other", [{"id": 7}, {"id": "1"}, {"id": True}, {"id": 1.0}, {"id": None}, {}])
async def test_a_message_without_the_id_of_a_waiting_request_is_passed_on(peer, other):
    peer.replies["ping"] = None
    async with linked(peer) as (link, received, _):
        asking = asyncio.create_task(link.request(PING))
        assert (await peer.requests.get())["id"] == 1
        await peer.say({"event": "e", **other})
        assert await received.get() == {"event": "e", **other}
        await peer.say({"type": "pong", "id": 1})
        await asking


async def test_a_late_reply_is_dropped_and_the_next_message_with_that_id_is_passed_on(peer):
    peer.replies["ping"] = None
    async with linked(peer) as (link, received, _):
        asking = asyncio.create_task(link.request(PING))
        number = (await peer.requests.get())["id"]
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for text in ("late", "next"):
            await peer.say({"type": text, "id": number})
        assert await received.get() == {"type": "next", "id": number}


async def test_a_lost_connection_fails_requests_with_the_close_code_and_further_ones_at_once(peer):
    peer.replies["ping"] = 1012
    async with linked(peer) as (link, _, reading):
        with pytest.raises(ConnectionLost, match=r"1012.*may or may not"):
            await link.request(PING)
        await reading
        assert link.over
        with pytest.raises(ConnectionLost):
            await link.request(PING)


async def test_an_unreadable_message_is_skipped_with_a_warning(peer, caplog):
    async with linked(peer) as (_, received, _):
        await peer.connections[-1].send("{")
        await peer.say({"event": "after"})
        assert await received.get() == {"event": "after"}
    assert "skipped" in caplog.text


async def test_replies_are_passed_on_with_their_request_before_whatever_follows_even_late_ones(peer):
    peer.replies["ping"] = None
    peer.greets = False
    order = []
    done = asyncio.Event()

    def receive(message):
        order.append(message)
        done.set()

    async with open_websocket(peer.url) as connection:
        link = Link(connection, JSON, CLIENT_DIALECTS["channels"], receive, lambda *pair: order.append(pair))
        reading = asyncio.create_task(link.read_until_closed())
        await peer.arrivals.get()
        asking = [asyncio.create_task(link.request({**PING, "n": n})) for n in range(3)]
        ids = [(await peer.requests.get())["id"] for _ in range(3)]
        asking[1].cancel()
        await asyncio.gather(asking[1], return_exceptions=True)
        for number in ids[:2]:
            await peer.say({"type": "pong", "id": number})
        await peer.say({"type": "error", "code": "forbidden", "message": "no", "id": ids[2]})
        await peer.say({"event": "after"})
        await asyncio.wait_for(done.wait(), 5)
        await asyncio.gather(*asking, return_exceptions=True)
    await reading
    replies = [({**PING, "n": n}, {"type": "pong", "id": ids[n]}) for n in range(2)]
    assert order == [*replies, {"event": "after"}]


async def test_while_the_inbox_is_full_it_reads_no_further_unless_a_reply_is_due(peer):
    inbox = Inbox(2, lambda dropped: {})
    peer.greets = False
    arrived = asyncio.Event()

    def receive(message):
        inbox.put(message, Mark("c", Position(message["n"], "x")))
        arrived.set()

    async def read(count):
        async with asyncio.timeout(5):
            while len(inbox) < count:
                arrived.clear()
                await arrived.wait()

    async with open_websocket(peer.url, create_connection=TimedConnection) as connection:
        link = Link(connection, JSON, CLIENT_DIALECTS["channels"], receive, inbox=inbox)
        reading = asyncio.create_task(link.read_until_closed())
        await peer.arrivals.get()
        for n in range(5):
            await peer.say({"n": n})
        await read(2)
        assert connection.is_paused
        await (await connection.ping())
        assert len(inbox) == 2
        assert (await asyncio.wait_for(link.request(PING), 5))["type"] == "done"
        assert len(inbox) == 5
        assert connection.is_paused
        for n in range(5, 20):
            await peer.say({"n": n})
        peer.replies["ping"] = None
        asking = asyncio.create_task(link.request(PING))
        await read(8)
        await (await connection.ping())
        assert len(inbox) == 8
        asking.cancel()
        numbers = []
        while len(numbers) < 20:
            numbers += [message["n"] for message in await asyncio.wait_for(inbox.take_all(), 5)]
        assert numbers == list(range(20))
    await reading
