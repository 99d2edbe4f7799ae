import asyncio
import base64
import json

import pytest

from fastws.client.client_dialect import CLIENT_DIALECTS
from fastws.client.inbox import Inbox
from fastws.client.positions import Position
from fastws.client.recovery import Recovery


class Followed:
    """A recovery without a connection: `answer` and `hear` are what the server says."""

    def __init__(self, dialect="channels", known=None, **options):
        self.dialect = CLIENT_DIALECTS[dialect]
        self.subscriptions = self.dialect.subscriptions()
        self.inbox = Inbox(100, lambda dropped: {"type": "lag", "dropped": dropped}, known)
        self.told = []
        self.recovery = Recovery(self.dialect, self.subscriptions, known or {}, self.inbox, self.told.append, **options)

    def subscribe(self, channel, **reply):
        """A subscription, confirmed as after each connect. Returns what was asked for."""
        (request,) = self.subscriptions.add([channel])
        asked = {**request, **self.recovery.fields(request)}
        self.recovery.answered(request, reply)
        self.subscriptions.confirmed(request)
        return asked

    def hear(self, *messages):
        for message in messages:
            self.recovery.receive(message)

    def lose(self):
        self.recovery.lost()
        self.recovery.reconnecting()

    async def taken(self):
        return [await asyncio.wait_for(self.inbox.take(), 5) for _ in range(len(self.inbox))]

    @property
    def positions(self):
        self.inbox.settle()
        return self.inbox.positions


def delivery(offset, channel="c", key="channel"):
    return {key: channel, "event": "e", "data": offset, "offset": offset}


async def test_a_channel_is_continued_and_the_result_is_told_before_what_was_missed():
    client = Followed()
    client.subscribe("c", offset=2, epoch="x")
    client.hear(delivery(3))
    assert await client.taken() == [delivery(3)]
    client.lose()
    asked = client.subscribe("c", offset=5, epoch="x", recovered=True, replayed=2)
    assert (asked["offset"], asked["epoch"]) == (3, "x")
    client.hear(delivery(4))
    assert client.told == [delivery(3)]
    client.recovery.reconnected("c2")
    client.hear(delivery(5), delivery(5), delivery(4), delivery(6))
    back = {"type": "reconnected", "connection_id": "c2", "recovered": {"c": True}}
    assert await client.taken() == [back, delivery(4), delivery(5), delivery(6)]
    assert client.told == [delivery(3), back, delivery(4), delivery(5), delivery(6)]
    assert client.positions == {"c": Position(6, "x")}


async def test_what_was_not_recovered_is_a_gap_with_the_position_from_which_it_goes_on():
    client = Followed()
    client.subscribe("c", offset=2, epoch="x")
    client.subscribe("plain")
    client.lose()
    client.subscribe("c", offset=1, epoch="y", recovered=False, replayed=0)
    assert client.subscribe("plain") == {"action": "subscribe", "channel": "plain"}
    client.recovery.reconnected("c2")
    assert await client.taken() == [
        {"type": "reconnected", "connection_id": "c2", "recovered": {"c": False, "plain": False}},
        {"type": "gap", "channel": "c", "offset": 1, "epoch": "y", "source": "reconnect"},
        {"type": "gap", "channel": "plain", "source": "reconnect"},
    ]
    assert client.positions == {"c": Position(1, "y")}


async def test_a_channel_subscribed_while_away_was_not_missed():
    client = Followed()
    client.lose()
    client.subscribe("new", offset=2, epoch="x")
    client.recovery.reconnected("c2")
    assert await client.taken() == [{"type": "reconnected", "connection_id": "c2", "recovered": {}}]


async def test_an_attempt_that_failed_half_way_loses_nothing_and_is_told_with_the_next():
    client = Followed()
    client.subscribe("c", offset=2, epoch="x")
    client.lose()
    client.subscribe("c", offset=9, epoch="y", recovered=False, replayed=0)
    client.hear(delivery(10))
    client.lose()
    asked = client.subscribe("c", offset=11, epoch="y", recovered=True, replayed=1)
    assert (asked["offset"], asked["epoch"]) == (10, "y")
    client.hear(delivery(11))
    client.recovery.reconnected("c3")
    taken = await client.taken()
    assert [message.get("type", message.get("offset")) for message in taken] == ["gap", 10, "reconnected", 11]
    assert taken[2]["recovered"] == {"c": False}


async def test_given_positions_are_continued_and_a_first_connection_tells_only_gaps():
    client = Followed(known={"c": Position(4, "x"), "gone": Position(4, "x"), "later": Position(7, "x")})
    assert client.subscribe("c", offset=5, epoch="x", recovered=True, replayed=1)["offset"] == 4
    client.subscribe("gone", offset=1, epoch="y", recovered=False, replayed=0)
    client.hear(delivery(5))
    client.recovery.reconnected("c1")
    gap = {"type": "gap", "channel": "gone", "offset": 1, "epoch": "y", "source": "reconnect"}
    assert await client.taken() == [gap, delivery(5)]
    assert client.positions == {"c": Position(5, "x"), "gone": Position(1, "y"), "later": Position(7, "x")}


async def test_positions_are_those_after_the_last_message_taken():
    client = Followed()
    client.subscribe("c", offset=0, epoch="x")
    client.hear(delivery(1), {"type": "gap", "channel": "c", "offset": 8, "epoch": "y"}, delivery(9))
    client.subscribe("d", offset=3, epoch="z")
    seen = []
    for _ in range(3):
        await client.inbox.take()
        seen.append(dict(client.inbox.positions))
    assert seen == [{"c": Position(1, "x")}, {"c": Position(8, "y")}, {"c": Position(9, "y")}]
    assert client.positions == {"c": Position(9, "y"), "d": Position(3, "z")}


async def test_an_unsubscribed_channel_has_no_position_any_more():
    client = Followed()
    for is_connected in (True, False):
        client.subscribe("c", offset=0, epoch="x")
        (request,) = client.subscriptions.remove(["c"])
        client.recovery.leave(["c"], is_connected=is_connected)
        if is_connected:
            assert client.positions == {"c": Position(0, "x")}
            client.recovery.answered(request, {"type": "unsubscribe_succeeded", "channel": "c"})
        assert client.positions == {}
    assert client.subscribe("c", offset=5, epoch="x") == {"action": "subscribe", "channel": "c"}


@pytest.mark.parametrize(
    "message",
    [
        {"event": "direct", "data": 1, "offset": 5},
        {"channel": "c", "event": "e", "data": 1, "offset": "1"},
        {"channel": "c", "event": "e", "data": 1, "offset": True},
        {"channel": ["c"], "event": "e", "data": 1, "offset": 1},
        {"channel": "c", "offset": 1},
        {"type": "gap", "channel": "c"},
        {"type": "gap", "channel": ["c"], "offset": 1, "epoch": "y"},
    ],
)
async def test_messages_that_only_resemble_deliveries_pass_and_change_nothing(message):
    client = Followed()
    client.subscribe("c", offset=2, epoch="x")
    client.hear(message)
    assert await client.taken() == [message]
    assert client.positions == {"c": Position(2, "x")}


def token_of(user):
    body = base64.urlsafe_b64encode(json.dumps({"sub": user}).encode()).decode().rstrip("=")
    return f"e30.{body}.signature"


async def test_rooms_continue_the_own_room_in_the_query_and_the_others_by_request():
    client = Followed("rooms")
    assert client.recovery.query(token_of("u1")) == {}
    client.recovery.greeted({"connection_id": "c1", "offset": 3, "epoch": "x"})
    client.subscribe("execution:1", offset=1, epoch="z")
    client.hear(delivery(4, "user:u1", "room_id"), delivery(2, "execution:1", "room_id"))
    await client.taken()
    client.lose()
    assert client.recovery.query(token_of("u1")) == {"offset": "4", "epoch": "x"}
    client.recovery.greeted({"connection_id": "c2", "offset": 4, "epoch": "x", "recovered": True, "replayed": 0})
    asked = client.subscribe("execution:1", offset=2, epoch="z", recovered=True, replayed=0)
    assert asked == {"type": "subscribe", "room_id": "execution:1", "offset": 2, "epoch": "z"}
    client.recovery.reconnected("c2")
    assert (await client.taken())[0]["recovered"] == {"user:u1": True, "execution:1": True}


async def test_workspaces_continue_in_the_query_with_their_filter():
    client = Followed("workspaces")
    assert client.recovery.query("t") == {}
    client.recovery.greeted({"event": "connected", "workspace_id": "w1", "offset": 3, "epoch": "x"})
    (request,) = client.subscriptions.add(["alert", "e"])
    client.recovery.answered(request, {"event": "subscribed"})
    client.subscriptions.confirmed(request)
    client.hear(delivery(4, "workspace:w1"))
    assert client.recovery.needs_pings
    client.recovery.answered({"type": "ping"}, {"event": "pong", "offset": 6})
    client.lose()
    assert client.recovery.query("t") == {"offset": "6", "epoch": "x", "event_types": "alert,e"}
    greeting = {"event": "connected", "workspace_id": "w1", "offset": 1, "epoch": "y", "recovered": False}
    client.recovery.greeted(greeting)
    client.recovery.reconnected("c2")
    assert (await client.taken())[1:] == [
        {"event": "reconnected", "connection_id": "c2", "recovered": {"workspace:w1": False}},
        {"event": "gap", "workspace_id": "w1", "offset": 1, "epoch": "y", "source": "reconnect"},
    ]
    client.hear({"event": "gap", "workspace_id": "w1", "offset": 5, "epoch": "z"})
    assert (await client.taken())[0]["offset"] == 5
    assert client.positions == {"workspace:w1": Position(5, "z")}


async def test_a_filter_that_no_query_can_express_is_not_continued_but_told():
    client = Followed("workspaces")
    client.recovery.query("t")
    client.recovery.greeted({"event": "connected", "workspace_id": "w1", "offset": 3, "epoch": "x"})
    (request,) = client.subscriptions.add(["with, comma"])
    client.subscriptions.confirmed(request)
    client.lose()
    assert client.recovery.query("t") == {}
    client.recovery.greeted({"event": "connected", "workspace_id": "w1", "offset": 4, "epoch": "x"})
    client.recovery.reconnected("c2")
    assert [message["event"] for message in await client.taken()] == ["reconnected", "gap"]


async def test_jobs_ask_for_no_past_at_first_so_that_the_feed_tells_its_position():
    client = Followed("jobs")
    assert client.recovery.query(None) == {"replay": "0"}
    client.recovery.greeted({})
    client.hear({"type": "subscribed", "job_ids": [], "statuses": [], "offset": 3, "epoch": "x", "replayed": 0})
    client.hear(delivery(4, "feed"))
    assert await client.taken() == [delivery(4, "feed")]
    assert client.positions == {"feed": Position(4, "x")}
    client.lose()
    assert client.recovery.query(None) == {"offset": "4", "epoch": "x"}
    client.recovery.greeted({"type": "subscribed", "offset": 5, "epoch": "x", "recovered": True, "replayed": 1})
    client.recovery.reconnected(None)
    client.hear(delivery(5, "feed"))
    taken = await client.taken()
    assert [message["type"] for message in taken[:1]] == ["reconnected"]
    assert (taken[0]["recovered"], taken[1]["offset"]) == ({"feed": True}, 5)


async def test_a_feed_of_a_server_that_knows_no_positions_is_a_gap_and_not_waited_for_again():
    client = Followed("jobs", {"feed": Position(4, "x")})
    assert client.recovery.query(None)["offset"] == "4"
    client.recovery.forget_home()
    assert client.recovery.query(None) == {"replay": "0"}
    assert await client.taken() == [{"type": "gap", "source": "reconnect"}]


async def test_the_first_subscription_gets_what_replay_asks_for_and_later_ones_continue():
    client = Followed(replay=3)
    assert client.subscribe("c", offset=9, epoch="x", replayed=2)["replay"] == 3
    client.hear(delivery(7), delivery(9), delivery(9), delivery(10))
    client.subscribe("plain")
    client.recovery.reconnected("c1")
    assert await client.taken() == [delivery(7), delivery(9), delivery(10)]
    client.lose()
    asked = client.subscribe("c", offset=10, epoch="x", recovered=True, replayed=0)
    assert asked == {"action": "subscribe", "channel": "c", "offset": 10, "epoch": "x"}


@pytest.mark.parametrize("dialect", ["rooms", "workspaces", "jobs"])
async def test_the_first_connection_asks_for_a_replay_of_the_home_channel(dialect):
    client = Followed(dialect, replay=3)
    assert client.recovery.query(token_of("u1")) == {"replay": "3"}
    client.recovery.greeted({"workspace_id": "w1"})
    client.recovery.reconnected("c1")
    assert client.recovery.query(token_of("u1")) == ({"replay": "0"} if dialect == "jobs" else {})
