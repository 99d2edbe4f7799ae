"""What the hub reports to presence, and notices to all members of a channel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastws.dialects.workspaces import EventFilter
from fastws.errors import FastWSError
from fastws.hub.hub import Hub
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Gap, Reply
from tests.hub.members import LineForm, Listener, Wheel

Maker = Callable[..., Listener]


class NoticeForm(LineForm):
    """A wire form that has notices; `mute` has none."""

    def reply(self, reply: Reply) -> bytes | None:
        self.framed += 1
        return None if self.name == "mute" else f"{self.name}: {type(reply).__name__}\n".encode()


FORM = NoticeForm("form")


class Ledger:
    """Keeps who has joined and left. Does not take channels that begin with `plain`."""

    members = 0

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, str]] = []

    def joined(self, connection_id: str, channel: str) -> None:
        self.entries.append(("joined", connection_id, channel))

    def left(self, connection_id: str, channel: str) -> None:
        self.entries.append(("left", connection_id, channel))

    def shows(self, channel: str) -> bool:
        return not channel.startswith("plain")

    def page(self, channel: str, limit: int, cursor: str | None, answer: Callable[[FastWSError], None]) -> None:
        raise AssertionError("the hub does not ask")


@pytest.fixture
def ledger(hub: Hub) -> Ledger:
    ledger = Ledger()
    hub.presence = ledger
    return ledger


def test_each_member_joins_once_and_leaves_once(hub: Hub, ledger: Ledger, listener: Maker) -> None:
    first, second = listener("first"), listener("second")
    hub.subscribe(first, "news", FORM)
    hub.subscribe(first, "news", FORM)
    hub.subscribe(first, "news", FORM, EventFilter(frozenset({"a"})))
    hub.subscribe(second, "news", FORM)
    hub.unsubscribe(second, "news")
    hub.unsubscribe(second, "news")
    hub.leave(first)
    assert ledger.entries == [
        ("joined", "first", "news"),
        ("joined", "second", "news"),
        ("left", "second", "news"),
        ("left", "first", "news"),
    ]


def test_a_member_that_is_cut_off_while_it_leaves_has_left_once(
    hub: Hub, ledger: Ledger, wheel: Wheel, listener: Maker
) -> None:
    slow = listener("slow", room=0)
    slow.leave = lambda: hub.leave(slow)
    hub.subscribe(slow, "news", FORM)
    slow.reads = False
    hub.deliver(Publication("news", "e", 1))
    hub.unsubscribe(slow, "news")
    wheel.run_out()
    assert ledger.entries == [("joined", "slow", "news"), ("left", "slow", "news")]


def test_a_channel_without_presence_is_not_reported(hub: Hub, ledger: Ledger, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "plain", FORM)
    hub.unsubscribe(member, "plain")
    assert ledger.entries == []


def test_a_notice_is_framed_once_per_audience_and_comes_after_earlier_publications(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    form, mute = NoticeForm("form"), NoticeForm("mute")
    several = [listener(str(number)) for number in range(3)]
    for member in several:
        hub.subscribe(member, "news", form)
    silent = listener("silent")
    hub.subscribe(silent, "news", mute)
    hub.deliver(Publication("news", "e", 1))
    form.framed = 0
    assert sum(hub.notify("news", Gap("news"))) == 3
    assert form.framed == 2  # the publication and the notice
    assert all(member.heard == ["news|e|1", "form: Gap"] for member in several)
    assert silent.heard == ["news|e|1"]
    assert list(hub.notify("unknown", Gap("unknown"))) == []


def test_a_member_that_cannot_take_a_notice_is_cut_off(hub: Hub, listener: Maker) -> None:
    slow = listener("slow", room=0)
    slow.leave = lambda: hub.leave(slow)
    hub.subscribe(slow, "news", FORM)
    slow.reads = False
    assert list(hub.notify("news", Gap("news"))) == [1]
    assert slow.cut_off_for == "news"
