import random

import pytest

from fastws.client.subscriptions import ChannelSubscriptions, EventSubscriptions, JobSubscriptions


def test_channels_are_asked_for_one_by_one_and_again_after_a_reconnect():
    subscriptions = ChannelSubscriptions("action", "channel")
    assert subscriptions.add(["a", "b"]) == [
        {"action": "subscribe", "channel": "a"},
        {"action": "subscribe", "channel": "b"},
    ]
    assert subscriptions.remove(["a"]) == [{"action": "unsubscribe", "channel": "a"}]
    assert subscriptions.restore() == [{"action": "subscribe", "channel": "b"}]


def test_a_refused_or_left_room_is_not_asked_for_again():
    subscriptions = ChannelSubscriptions("type", "room_id")
    first, second, _ = subscriptions.add(["a", "b", "c"])
    subscriptions.refused(first, is_final=True)
    subscriptions.confirmed(second)
    subscriptions.left({"type": "subscription", "room_id": "b", "reason": "Access denied to room"})
    subscriptions.refused({"type": "unsubscribe", "room_id": "c"}, is_final=True)
    assert subscriptions.restore() == [{"type": "subscribe", "room_id": "c"}]


def test_an_answer_counts_for_the_latest_request_of_its_name_alone():
    subscriptions = ChannelSubscriptions("action", "channel")
    (first,) = subscriptions.add(["a"])
    subscriptions.remove(["a"])
    (latest,) = subscriptions.add(["a"])
    subscriptions.refused(first, is_final=True)
    subscriptions.left({"channel": "a"})
    assert not subscriptions.was_confirmed(latest)
    subscriptions.confirmed(latest)
    assert subscriptions.was_confirmed(latest)
    assert subscriptions.restore() == [{"action": "subscribe", "channel": "a"}]


def test_a_confirmed_subscription_survives_only_a_temporary_refusal():
    for is_final, left in [(False, ["a"]), (True, [])]:
        subscriptions = ChannelSubscriptions("action", "channel")
        (first,) = subscriptions.add(["a"])
        subscriptions.confirmed(first)
        (again,) = subscriptions.add(["a"])
        subscriptions.refused(again, is_final=is_final)
        (new,) = subscriptions.add(["b"])
        subscriptions.refused(new, is_final=is_final)
        assert [request["channel"] for request in subscriptions.restore()] == left


class Server:
    """The filter of the workspaces dialect after the requests that it got."""

    def __init__(self):
        self.names, self.excluding = frozenset(), True

    def take(self, requests):
        for request in requests:
            names = frozenset(request["event_types"])
            if request["type"] == "subscribe":
                if "*" in names:
                    self.names, self.excluding = frozenset(), True
                else:
                    self.names = names if self.excluding else self.names | names
                    self.excluding = False
            elif "*" in names:
                self.names, self.excluding = frozenset(), False
            else:
                self.names = self.names | names if self.excluding else self.names - names

    @property
    def state(self):
        return self.names, self.excluding


@pytest.mark.parametrize("seed", range(100))
def test_restored_event_types_are_those_that_were_in_force(seed):
    """The server may have confirmed, refused or not answered requests when the connection is lost."""
    pick = random.Random(seed)
    subscriptions, server = EventSubscriptions(), Server()
    waiting = []
    for _ in range(12):
        change = pick.choice([subscriptions.add, subscriptions.remove])
        waiting += change(pick.choices(["alert", "started", "completed", "*"], weights=[4, 4, 4, 1], k=2))
        while waiting and pick.random() < 0.4:
            request = waiting.pop(0)
            if pick.random() < 0.3:
                subscriptions.refused(request, is_final=True)
            else:
                subscriptions.confirmed(request)
                server.take([request])
        if pick.random() < 0.2:
            waiting = subscriptions.restore()
            server = Server()
    server.take(waiting)
    fresh = Server()
    fresh.take(subscriptions.restore())
    assert fresh.state == server.state


def test_a_request_without_an_answer_keeps_its_place_before_one_with_an_answer():
    subscriptions = EventSubscriptions()
    subscriptions.add(["a", "b"])
    (later,) = subscriptions.remove(["a"])
    subscriptions.confirmed(later)
    subscriptions.confirmed(later)
    assert subscriptions.restore() == [{"type": "subscribe", "event_types": ["b"]}]


def test_a_refused_change_leaves_the_confirmed_filter():
    subscriptions = EventSubscriptions()
    (good,) = subscriptions.add(["good"])
    subscriptions.confirmed(good)
    (bad,) = subscriptions.add(["bad"])
    subscriptions.refused(bad, is_final=True)
    (restored,) = subscriptions.restore()
    assert restored == {"type": "subscribe", "event_types": ["good"]}
    assert subscriptions.was_confirmed(restored)
    assert subscriptions.is_covered(restored, restored)
    assert not subscriptions.is_covered(dict(restored), restored)
    assert subscriptions.add([]) == subscriptions.remove([]) == []


def test_each_request_for_jobs_says_the_whole_wish():
    subscriptions = JobSubscriptions(["failed"])
    (first,) = subscriptions.add(["7"])
    assert first == {"type": "subscribe", "job_ids": ["7"], "statuses": ["failed"]}
    (second,) = subscriptions.add(["8"])
    assert second == {"type": "subscribe", "job_ids": ["7", "8"], "statuses": ["failed"]}
    subscriptions.confirmed(first)
    subscriptions.confirmed(second)
    (third,) = subscriptions.remove(["7"])
    assert third == {"type": "subscribe", "job_ids": ["8"], "statuses": ["failed"]}
    subscriptions.refused(third, is_final=True)
    assert subscriptions.restore() == [second]


def test_without_a_filter_every_job_arrives():
    subscriptions = JobSubscriptions()
    assert subscriptions.restore() == subscriptions.add([]) == []
    (narrow,) = subscriptions.add(["7"])
    subscriptions.confirmed(narrow)
    (wide,) = subscriptions.remove(["7"])
    assert wide == {"type": "unsubscribe"}
    subscriptions.confirmed(wide)
    assert subscriptions.restore() == []


@pytest.mark.parametrize(
    ("calls", "query"),
    [
        ([], {}),
        ([("add", ["b", "a"])], {"event_types": "a,b"}),
        ([("remove", ["a"])], {"except_event_types": "a"}),
        ([("add", ["a"]), ("remove", ["a"])], {"except_event_types": "*"}),
        ([("add", ["a"]), ("add", ["*"])], {}),
        ([("add", ["a,b"])], None),
        ([("add", ["x" * 4001])], None),
    ],
)
@pytest.mark.parametrize("are_confirmed", [True, False])
def test_the_filter_of_a_workspace_in_a_query(calls, query, are_confirmed):
    subscriptions = EventSubscriptions()
    for call, names in calls:
        (request,) = getattr(subscriptions, call)(names)
        if are_confirmed:
            subscriptions.confirmed(request)
    assert subscriptions.query() == query


def test_the_filter_of_the_jobs_in_a_query():
    subscriptions = JobSubscriptions(["failed"])
    subscriptions.add(["8", "7"])
    assert subscriptions.query() == {"job_ids": "7,8", "statuses": "failed"}
    subscriptions.remove(["7", "8"])
    assert subscriptions.query() == {"statuses": "failed"}
    assert JobSubscriptions().query() == {}


def test_channels_stand_in_no_query():
    subscriptions = ChannelSubscriptions("type", "room_id")
    subscriptions.add(["a"])
    assert (subscriptions.query(), list(subscriptions.names())) == ({}, ["a"])
