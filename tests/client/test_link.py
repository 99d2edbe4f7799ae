import asyncio
import contextlib

import pytest
from websockets.asyncio.client import connect as open_websocket

from fastws.client.client_dialect import CLIENT_DIALECTS
from fastws.client.formats import JSON
from fastws.client.link import ConnectionLost, Link
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
