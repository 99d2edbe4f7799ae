import random

import pytest

from fastws.client.wishes import ChannelWishes, EventWishes, JobWishes


def test_channels_are_asked_for_one_by_one_and_again_after_a_reconnect():
    wishes = ChannelWishes("action", "channel")
    assert wishes.add(["a", "b"]) == [
        {"action": "subscribe", "channel": "a"},
        {"action": "subscribe", "channel": "b"},
    ]
    assert wishes.remove(["a"]) == [{"action": "unsubscribe", "channel": "a"}]
    assert wishes.restore() == [{"action": "subscribe", "channel": "b"}]


def test_a_refused_or_left_room_is_not_asked_for_again():
    wishes = ChannelWishes("type", "room_id")
    first, second, _ = wishes.add(["a", "b", "c"])
    wishes.refused(first, for_good=True)
    wishes.confirmed(second)
    wishes.left({"type": "subscription", "room_id": "b", "reason": "Access denied to room"})
    wishes.refused({"type": "unsubscribe", "room_id": "c"}, for_good=True)
    assert wishes.restore() == [{"type": "subscribe", "room_id": "c"}]


def test_an_answer_counts_for_the_latest_request_of_its_name_alone():
    wishes = ChannelWishes("action", "channel")
    (first,) = wishes.add(["a"])
    wishes.remove(["a"])
    (latest,) = wishes.add(["a"])
    wishes.refused(first, for_good=True)
    wishes.left({"channel": "a"})
    assert not wishes.was_confirmed(latest)
    wishes.confirmed(latest)
    assert wishes.was_confirmed(latest)
    assert wishes.restore() == [{"action": "subscribe", "channel": "a"}]


def test_what_was_confirmed_survives_a_refusal_for_now_and_no_other():
    for for_good, left in [(False, ["a"]), (True, [])]:
        wishes = ChannelWishes("action", "channel")
        (first,) = wishes.add(["a"])
        wishes.confirmed(first)
        (again,) = wishes.add(["a"])
        wishes.refused(again, for_good=for_good)
        (new,) = wishes.add(["b"])
        wishes.refused(new, for_good=for_good)
        assert [request["channel"] for request in wishes.restore()] == left


class Server:
    """What the workspaces dialect has in force after the requests it got."""

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
    """Whatever the server has confirmed, refused or not answered by the time the connection is lost."""
    pick = random.Random(seed)
    wishes, server = EventWishes(), Server()
    waiting = []
    for _ in range(12):
        change = pick.choice([wishes.add, wishes.remove])
        waiting += change(pick.choices(["alert", "started", "completed", "*"], weights=[4, 4, 4, 1], k=2))
        while waiting and pick.random() < 0.4:
            request = waiting.pop(0)
            if pick.random() < 0.3:
                wishes.refused(request, for_good=True)
            else:
                wishes.confirmed(request)
                server.take([request])
        if pick.random() < 0.2:
            waiting = wishes.restore()
            server = Server()
    server.take(waiting)
    fresh = Server()
    fresh.take(wishes.restore())
    assert fresh.state == server.state


def test_a_refused_change_leaves_the_confirmed_filter():
    wishes = EventWishes()
    (good,) = wishes.add(["good"])
    wishes.confirmed(good)
    (bad,) = wishes.add(["bad"])
    wishes.refused(bad, for_good=True)
    (restored,) = wishes.restore()
    assert restored == {"type": "subscribe", "event_types": ["good"]}
    assert wishes.was_confirmed(restored)
    assert wishes.is_covered(restored, restored)
    assert not wishes.is_covered(dict(restored), restored)
    assert wishes.add([]) == wishes.remove([]) == []


def test_each_request_for_jobs_says_the_whole_wish():
    wishes = JobWishes(["failed"])
    (first,) = wishes.add(["7"])
    assert first == {"type": "subscribe", "job_ids": ["7"], "statuses": ["failed"]}
    (second,) = wishes.add(["8"])
    assert second == {"type": "subscribe", "job_ids": ["7", "8"], "statuses": ["failed"]}
    wishes.confirmed(first)
    wishes.confirmed(second)
    (third,) = wishes.remove(["7"])
    assert third == {"type": "subscribe", "job_ids": ["8"], "statuses": ["failed"]}
    wishes.refused(third, for_good=True)
    assert wishes.restore() == [second]


def test_without_a_wish_every_job_is_heard():
    wishes = JobWishes()
    assert wishes.restore() == wishes.add([]) == []
    (narrow,) = wishes.add(["7"])
    wishes.confirmed(narrow)
    (wide,) = wishes.remove(["7"])
    assert wide == {"type": "unsubscribe"}
    wishes.confirmed(wide)
    assert wishes.restore() == []
