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
    first, _, _ = wishes.add(["a", "b", "c"])
    wishes.refused(first)
    wishes.left({"type": "subscription", "room_id": "b", "reason": "Access denied to room"})
    wishes.refused({"type": "unsubscribe", "room_id": "c"})
    assert wishes.restore() == [{"type": "subscribe", "room_id": "c"}]


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


@pytest.mark.parametrize("seed", range(50))
def test_restored_event_types_are_those_that_were_in_force(seed):
    pick = random.Random(seed)
    wishes, server = EventWishes(), Server()
    for _ in range(8):
        change = pick.choice([wishes.add, wishes.remove])
        server.take(change(pick.choices(["alert", "started", "completed", "*"], weights=[4, 4, 4, 1], k=2)))
        fresh = Server()
        fresh.take(wishes.restore())
        assert fresh.state == server.state


def test_refused_event_types_are_not_asked_for_again():
    wishes = EventWishes()
    wishes.add(["good"])
    for request in wishes.add(["bad"]):
        wishes.refused(request)
    assert wishes.restore() == [{"type": "subscribe", "event_types": ["good"]}]
    assert wishes.add([]) == wishes.remove([]) == []


def test_each_request_for_jobs_says_the_whole_wish():
    wishes = JobWishes(["failed"])
    assert wishes.add(["7"]) == [{"type": "subscribe", "job_ids": ["7"], "statuses": ["failed"]}]
    assert wishes.add(["8"]) == [{"type": "subscribe", "job_ids": ["7", "8"], "statuses": ["failed"]}]
    assert wishes.remove(["7"]) == [{"type": "subscribe", "job_ids": ["8"], "statuses": ["failed"]}]
    wishes.refused({"type": "subscribe", "job_ids": ["8"], "statuses": []})
    assert wishes.restore() == [{"type": "subscribe", "job_ids": [], "statuses": ["failed"]}]


def test_without_a_wish_every_job_is_heard():
    wishes = JobWishes()
    assert wishes.restore() == []
    wishes.add(["7"])
    assert wishes.remove(["7"]) == [{"type": "unsubscribe"}]
