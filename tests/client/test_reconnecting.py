import asyncio

import pytest

from fastws.errors import FastWSError, Forbidden, NotFound, Unauthorized, Unavailable
from tests.client.peer_clients import client_of, next_of


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013])
async def test_after_a_lost_connection_it_comes_back_with_its_subscriptions_and_says_so(peer, code):
    heard = []
    async with client_of(peer, ["a"], on_notice=heard.append) as client:
        await client.subscribe("b")
        await client.unsubscribe("a")
        for _ in range(3):
            await peer.asked()
        if code == 1006:
            peer.connections[-1].transport.abort()
        else:
            await peer.connections[-1].close(code, "reason")
        lost = await next_of(client)
        assert (lost["type"], lost["code"]) == ("disconnected", code)
        assert await next_of(client) == {
            "type": "reconnected",
            "connection_id": "c2",
            "recovered": {"b": False},
        }
        assert await next_of(client) == {"type": "gap", "channel": "b", "source": "reconnect"}
        assert peer.requests.get_nowait()["channel"] == "b"
        await peer.say({"channel": "b", "event": "e", "data": 1})
        assert (await next_of(client))["event"] == "e"
        assert [notice["type"] for notice in heard] == ["disconnected", "reconnected", "gap"]


async def test_the_notice_of_a_reconnect_comes_when_everything_is_subscribed_again(peer):
    """What an application loads at the notice lacks nothing up to the confirmation."""
    confirmed, heard = [], []
    async with client_of(peer, ["a"], on_notice=lambda notice: heard.append((notice["type"], [*confirmed]))) as client:
        await peer.asked()
        peer.replies["subscribe"] = [None]
        await peer.connections[-1].close(1012, "")
        request = await asyncio.wait_for(peer.requests.get(), 5)
        confirmed.append("a")
        await peer.say({"type": "done", "id": request["id"]})
        await client.ping()
        assert heard == [("disconnected", []), ("reconnected", ["a"]), ("gap", ["a"])]


async def test_a_connection_on_which_not_everything_is_restored_is_not_reported(peer):
    async with client_of(peer, ["a"]) as client:
        peer.replies["subscribe"] = [{"type": "error", "code": "broker_unavailable", "message": "m"}]
        await peer.connections[-1].close(1012, "")
        assert (await next_of(client))["type"] == "disconnected"
        back = await next_of(client)
        assert (back["type"], back["connection_id"]) == ("reconnected", "c3")


async def test_a_restart_with_a_hint_is_obeyed(peer):
    async with client_of(peer) as client:
        await peer.connections[-1].close(1012, "restart; reconnect in 3-4 s")
        assert 3 <= (await next_of(client))["retry_seconds"] <= 4


async def test_a_close_with_1000_ends_the_iteration_and_later_calls_say_so(peer):
    async with client_of(peer) as client:
        await peer.say({"event": "last", "data": 1})
        await peer.connections[-1].close(1000)
        assert [message["event"] async for message in client] == ["last"]
        with pytest.raises(Unavailable, match="closed"):
            await client.send("a", "e")


async def test_without_reconnect_a_lost_connection_ends_it_with_code_and_reason(peer):
    async with client_of(peer, reconnect=False) as client:
        await peer.connections[-1].close(1013, "slow consumer")
        with pytest.raises(Unavailable, match="1013 slow consumer"):
            await next_of(client)


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (401, Unauthorized, "token_provider"),
        (403, Forbidden, "origin"),
        (404, NotFound, "dialect"),
        (426, FastWSError, "13"),
    ],
)
async def test_an_upgrade_refused_for_good_raises_at_once_with_what_to_do(peer, status, kind, advice):
    peer.refusals = [(status, {})]
    with pytest.raises(kind, match=advice) as caught:
        await client_of(peer, token="secret-token").__aenter__()
    assert "secret-token" not in str(caught.value)
    assert len(peer.tokens) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again(peer, status):
    peer.refusals = [(status, {}), (status, {"Retry-After": "0"})]
    async with client_of(peer):
        assert len(peer.tokens) == 3


async def test_retry_after_is_waited_for(peer):
    peer.refusals = [(503, {"Retry-After": "60"})]
    with pytest.raises(Unavailable, match=r"503.*draining"):
        await client_of(peer, connect_timeout=0.2).__aenter__()
    assert len(peer.tokens) == 1


async def test_the_token_goes_into_the_header_and_a_fresh_one_is_fetched_when_it_is_refused(peer):
    fresh = iter(["first", "second"])
    peer.refusals = [(401, {})]
    async with client_of(peer, token_provider=lambda: next(fresh)):
        assert peer.tokens == ["first", "second"]
    assert peer.queries == [{}, {}]


async def test_a_fresh_token_refused_too_is_the_end(peer):
    peer.refusals = [(401, {}), (401, {})]

    async def provider():
        return "token"

    with pytest.raises(Unauthorized):
        await client_of(peer, token_provider=provider).__aenter__()


async def test_close_4401_ends_it_without_a_provider_and_fetches_a_token_with_one(peer):
    async with client_of(peer, token="fixed") as client:
        await peer.connections[-1].close(4401, "token expired")
        with pytest.raises(Unauthorized, match="token_provider"):
            await next_of(client)
    fresh = iter(["one", "two"])
    async with client_of(peer, token_provider=lambda: next(fresh)) as client:
        await peer.connections[-1].close(4401, "token expired")
        await next_of(client)
        assert (await next_of(client))["type"] == "reconnected"
    assert peer.tokens == ["fixed", "one", "two"]


async def test_close_4403_is_the_end_even_with_a_provider(peer):
    async with client_of(peer, token_provider=lambda: "t") as client:
        await peer.connections[-1].close(4403, "origin")
        with pytest.raises(Forbidden, match="origin"):
            await next_of(client)


async def test_a_provider_that_fails_at_the_start_fails_the_connect(peer):
    def provider():
        raise LookupError("no such user")

    with pytest.raises(FastWSError, match="LookupError: no such user"):
        await client_of(peer, token_provider=provider).__aenter__()


async def test_a_provider_that_fails_later_is_asked_again(peer):
    answers = iter(["first", LookupError(), "second"])

    def provider():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with client_of(peer, token_provider=provider) as client:
        await peer.connections[-1].close(4401, "")
        await next_of(client)
        assert (await next_of(client))["type"] == "reconnected"
    assert peer.tokens == ["first", "second"]


async def test_a_subscription_refused_after_a_reconnect_becomes_an_error_notice(peer):
    async with client_of(peer, ["a"]) as client:
        peer.replies["subscribe"] = [{"type": "error", "code": "forbidden", "message": "no more", "channel": "a"}]
        await peer.connections[-1].close(1012, "")
        kinds = [await next_of(client) for _ in range(3)]
        assert [kind["type"] for kind in kinds] == ["disconnected", "reconnected", "error"]
        assert kinds[2]["request"] == {"action": "subscribe", "channel": "a"}


async def test_a_subscription_that_fails_for_now_after_a_reconnect_is_made_with_the_next(peer):
    async with client_of(peer, ["a"]) as client:
        peer.replies["subscribe"] = [{"type": "error", "code": "broker_unavailable", "message": "m"}]
        await peer.connections[-1].close(1012, "")
        for _ in range(3):
            await asyncio.wait_for(peer.arrivals.get(), 5)
        await client.ping()
        assert client.connection_id == "c3"


async def test_a_reconnect_without_a_greeting_is_given_up_and_tried_again(peer):
    async with client_of(peer, connect_timeout=0.5) as client:
        await asyncio.wait_for(peer.arrivals.get(), 5)
        peer.greets = False
        await peer.connections[-1].close(1012, "")
        for _ in range(2):
            await asyncio.wait_for(peer.arrivals.get(), 5)
        peer.greets = True
        assert (await next_of(client))["type"] == "disconnected"
        assert (await next_of(client))["type"] == "reconnected"


async def test_a_reconnect_to_a_path_that_never_answers_is_given_up_and_tried_again(peer):
    accepted = asyncio.Queue()
    async with client_of(peer, connect_timeout=0.5) as client:
        await peer.stop()
        mute = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", peer.port)
        writers = [await asyncio.wait_for(accepted.get(), 5) for _ in range(2)]
        mute.close()
        for writer in writers:
            writer.transport.abort()
        await peer.start()
        assert (await next_of(client))["type"] == "disconnected"
        assert (await next_of(client))["type"] == "reconnected"


async def test_a_connection_on_which_nothing_arrives_any_more_is_left(peer):
    async with client_of(peer, ping_interval=0.05, ping_timeout=0.05) as client:
        await asyncio.wait_for(peer.arrivals.get(), 5)
        peer.connections[-1].transport.pause_reading()
        assert (await next_of(client))["code"] == 1006
        assert (await next_of(client))["type"] == "reconnected"
        peer.connections[0].transport.abort()
