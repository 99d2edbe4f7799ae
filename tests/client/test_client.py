import asyncio
import base64
import datetime as dt
import json
import time

import pytest

from fastws.client import connect
from fastws.errors import BadRequest, FastWSError, Forbidden, Unavailable
from tests.client.peer_clients import client_of, next_of


def token_until(expires):
    body = base64.urlsafe_b64encode(json.dumps({"sub": "u", "exp": expires}).encode()).decode().rstrip("=")
    return f"e30.{body}.signature"


async def test_it_connects_subscribes_and_yields_what_is_delivered(peer):
    async with client_of(peer, ["admin", "logs"]) as client:
        assert client.connected
        assert client.connection_id == "c1"
        assert await peer.asked() == {"action": "subscribe", "channel": "admin"}
        assert await peer.asked() == {"action": "subscribe", "channel": "logs"}
        await peer.say({"channel": "admin", "event": "e", "data": [1], "from": "x"})
        assert await next_of(client) == {"channel": "admin", "event": "e", "data": [1], "from": "x"}
    assert not client.connected


async def test_calls_return_what_the_server_replied_and_replies_are_not_yielded(peer):
    async with client_of(peer) as client:
        assert await client.send("admin", "e", {"a": 1}) == {"sent": 2, "failed": 1}
        assert await client.send("admin", "e", exclude_self=True) == {"sent": 2, "failed": 1}
        assert await client.send_to("other", "e", 5) == {"sent": 2, "failed": 1}
        assert 0 < await client.ping() < 5
        await client.subscribe("a", "b")
        await client.unsubscribe("a")
        await client.refresh("new-token")
        await peer.say({"event": "direct", "data": 1})
        assert (await next_of(client))["event"] == "direct"
    assert [await peer.asked() for _ in range(8)] == [
        {"action": "send", "channel": "admin", "event": "e", "data": {"a": 1}},
        {"action": "send", "channel": "admin", "event": "e", "data": None, "exclude_self": True},
        {"action": "send", "connectionId": "other", "event": "e", "data": 5},
        {"action": "ping"},
        {"action": "subscribe", "channel": "a"},
        {"action": "subscribe", "channel": "b"},
        {"action": "unsubscribe", "channel": "a"},
        {"action": "refresh", "token": "new-token"},
    ]


async def test_a_refused_request_raises_the_error_of_its_code_and_is_not_repeated(peer):
    peer.replies["subscribe"] = [{"type": "error", "code": "forbidden", "message": "not yours", "channel": "x"}]
    async with client_of(peer) as client:
        with pytest.raises(Forbidden, match="not yours"):
            await client.subscribe("x")
        await client.subscribe("y")
        await peer.connections[-1].close(1012, "")
        assert (await next_of(client))["type"] == "disconnected"
        assert (await next_of(client))["type"] == "reconnected"
    channels = [(await peer.asked())["channel"] for _ in range(3)]
    assert channels == ["x", "y", "y"]


@pytest.mark.parametrize(("code", "kind"), [("bad_request", BadRequest), ("internal", FastWSError)])
async def test_a_refused_first_subscription_fails_the_connect(peer, code, kind):
    peer.replies["subscribe"] = {"type": "error", "code": code, "message": "no such thing"}
    with pytest.raises(kind, match="no such thing"):
        async with client_of(peer, ["x"], connect_timeout=2.0):
            pytest.fail("it must not come this far")


async def test_calls_made_while_the_server_is_away_wait_for_the_next_connection(peer):
    async with client_of(peer, longest_delay=0.01) as client:
        await peer.stop()
        assert (await next_of(client))["type"] == "disconnected"
        sending = asyncio.create_task(client.send("a", "e"))
        subscribing = asyncio.create_task(client.subscribe("b"))
        await asyncio.sleep(0)
        await peer.start()
        assert await asyncio.wait_for(sending, 5) == {"sent": 2, "failed": 1}
        await asyncio.wait_for(subscribing, 5)


async def test_a_send_whose_answer_was_lost_is_not_sent_twice_but_a_subscription_is_asked_again(peer):
    peer.replies = {"send": [1011], "subscribe": [1011]}
    async with client_of(peer) as client:
        with pytest.raises(Unavailable, match=r"1011.*may or may not have been carried out"):
            await client.send("a", "e")
        await client.subscribe("a")
        actions = [(await peer.asked())["action"] for _ in range(3)]
        assert actions == ["send", "subscribe", "subscribe"]


async def test_a_request_without_an_answer_ends_in_time_and_its_late_answer_is_dropped(peer):
    peer.replies["ping"] = None
    async with client_of(peer, request_timeout=0.05) as client:
        with pytest.raises(Unavailable, match=r"no answer within 0\.05 s, though connected"):
            await client.ping()
        await peer.say({"type": "pong", "id": 1})
        await peer.say({"type": "gap", "channel": "a"})
        assert await next_of(client) == {"type": "gap", "channel": "a"}


async def test_an_unreachable_server_raises_in_time_with_what_to_check(peer):
    await peer.stop()
    with pytest.raises(Unavailable, match="is `fastws serve` running"):
        await client_of(peer, connect_timeout=0.1).__aenter__()


async def test_the_token_is_refreshed_before_it_ends_and_used_from_then_on(peer):
    later = token_until(time.time() + 3600)
    fresh = iter([token_until(time.time() + 0.3), later])
    async with client_of(peer, token_provider=lambda: next(fresh)) as client:
        assert await peer.asked() == {"action": "refresh", "token": later}
        await peer.connections[-1].close(1012, "")
        await next_of(client)
        await next_of(client)
    assert peer.tokens[-1] == later


async def test_a_slow_application_loses_the_oldest_and_gets_their_number(peer):
    async with client_of(peer, max_queue=3) as client:
        for number in range(10):
            await peer.say({"channel": "a", "event": "e", "data": number})
        await client.ping()
        assert client.dropped == 7
        assert await next_of(client) == {"type": "lag", "dropped": 7, "source": "client"}
        assert [(await next_of(client))["data"] for _ in range(3)] == [7, 8, 9]


async def test_a_notice_hook_that_fails_harms_nothing(peer, caplog):
    def hook(notice):
        raise ValueError("hook")

    async with client_of(peer, on_notice=hook) as client:
        await peer.say({"type": "gap", "channel": "a"})
        assert (await next_of(client))["type"] == "gap"
    assert "on_notice raised an error" in caplog.text


async def test_an_unreadable_message_is_skipped(peer, caplog):
    async with client_of(peer) as client:
        for frame in ("{", "[1]", b"\xff"):
            await peer.connections[-1].send(frame)
        await peer.say({"event": "good", "data": 1})
        assert (await next_of(client))["event"] == "good"
    assert caplog.text.count("the message was skipped") == 3


async def test_a_channel_that_the_server_took_it_off_is_not_asked_for_again(peer):
    async with client_of(peer, ["a", "b"]) as client:
        await peer.say({"type": "unsubscribe_succeeded", "channel": "a", "reason": "forbidden"})
        assert (await next_of(client))["channel"] == "a"
        await peer.connections[-1].close(1012, "")
        await next_of(client)
        await next_of(client)
        assert [(await peer.asked())["channel"] for _ in range(3)] == ["a", "b", "b"]


async def test_msgpack_carries_bytes_and_moments(peer):
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    async with client_of(peer, ["a"], format="msgpack") as client:
        assert await peer.asked() == {"action": "subscribe", "channel": "a"}
        await client.send("a", "e", {"raw": b"\x00", "at": moment})
        assert (await peer.asked())["data"] == {"raw": b"\x00", "at": moment}
        await peer.say({"channel": "a", "event": "e", "data": {"raw": b"\x01", "at": moment, 5: 6}})
        assert (await next_of(client))["data"] == {"raw": b"\x01", "at": moment, 5: 6}
        with pytest.raises(BadRequest, match="time zone"):
            await client.send("a", "e", dt.datetime(2026, 1, 2))  # noqa: DTZ001


async def test_the_format_in_the_url_is_honoured(peer):
    async with connect(f"{peer.url}/?format=msgpack", ["a"]) as client:
        await client.send("a", "e", b"\x00")
        await peer.asked()
        assert (await peer.asked())["data"] == b"\x00"
    with pytest.raises(BadRequest, match="json or msgpack"):
        connect(f"{peer.url}/?format=xml")


async def test_rooms_have_their_own_message_format(peer):
    async with client_of(peer, ["execution:1"], token="t", dialect="rooms") as client:
        assert await peer.asked() == {"type": "subscribe", "room_id": "execution:1"}
        await client.ping()
        assert await peer.asked() == {"type": "ping"}
        peer.replies["subscribe"] = {"type": "error", "message": "Access denied to room", "room_id": "user:x"}
        with pytest.raises(Forbidden, match="user:x"):
            await client.subscribe("user:x")
        with pytest.raises(BadRequest, match="channels dialect"):
            await client.send("execution:1", "e")


async def test_workspaces_have_their_own_message_format(peer):
    async with client_of(peer, token="t", dialect="workspaces", workspace_id="w 1") as client:
        assert peer.queries == [{"workspace_id": ["w 1"]}]
        await client.subscribe("alert", "metrics_update")
        assert await peer.asked() == {"type": "subscribe", "event_types": ["alert", "metrics_update"]}
        assert await client.request_metrics("executions") == {"n": 1}
        assert await peer.asked() == {"type": "request_metrics", "metric_type": "executions"}
        await peer.connections[-1].close(1012, "")
        assert (await next_of(client))["event"] == "disconnected"
        assert (await next_of(client))["event"] == "reconnected"
        assert await peer.asked() == {"type": "subscribe", "event_types": ["alert", "metrics_update"]}


async def test_jobs_have_no_greeting_and_a_filter(peer):
    async with client_of(peer, ["7"], dialect="jobs", statuses=["failed"]) as client:
        assert client.connection_id is None
        assert await peer.asked() == {"type": "subscribe", "job_ids": ["7"], "statuses": ["failed"]}
        await peer.say({"type": "job_update", "job_id": "7", "status": "failed", "data": {}})
        assert (await next_of(client))["job_id"] == "7"
        with pytest.raises(BadRequest, match="workspaces dialect"):
            await client.request_metrics()


async def test_cancelling_the_reader_leaves_the_client_whole(peer):
    async with client_of(peer) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(client), 0.01)
        await peer.say({"event": "e", "data": 1})
        assert (await next_of(client))["event"] == "e"


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("redis://host", {}, "ws://host:8000"),
        ("ws://host", {"format": "xml"}, "json or msgpack"),
        ("ws://host", {"dialect": "chat"}, "workspaces"),
        ("ws://host", {"channels": "admin"}, r"\['admin'\]"),
        ("ws://host", {"max_queue": 0}, "max_queue"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_right(url, options, named):
    with pytest.raises(BadRequest, match=named):
        connect(url, **options)


VERBATIM = [
    {"data": 1, "id": 7},
    {"id": "1", "text": "an id of somebody else"},
    {"id": 1, "text": "the id of a request that was answered"},
    {"id": True},
    {"id": [1]},
    {"id": None},
    {},
    {"text": "without data"},
    {"type": "gap", "data": None},
    {"reason": "because", "channel": "a"},
    {"type": "connection_id", "connection_id": "a second greeting"},
    {"type": "pong"},
]


async def test_everything_but_replies_and_notices_is_a_message(peer):
    noticed = []
    async with client_of(peer, ["a"], on_notice=noticed.append) as client:
        await client.ping()
        for message in VERBATIM:
            await peer.say(message)
        assert [await next_of(client) for _ in VERBATIM] == VERBATIM
        assert (client.connection_id, noticed) == ("c1", [])
        await peer.connections[-1].close(1012, "")
        assert (await next_of(client))["type"] == "disconnected"
        assert (await next_of(client))["type"] == "reconnected"
        channels = [(await peer.asked()).get("channel") for _ in range(3)]
    assert channels == ["a", None, "a"]
