"""Deliveries to members: subscribing, leaving, slow consumers, receipts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastws.counters import Counters
from fastws.dialects.workspaces import EventFilter
from fastws.hub.hub import Hub
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Gap
from tests.hub.members import LineForm, Listener, Note, Wheel

FORM = LineForm("all")
Maker = Callable[..., Listener]


def test_members_get_nothing_from_before_they_subscribed_or_after_they_left(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    early, late = listener("early"), listener("late")
    hub.subscribe(early, "news", FORM)
    hub.deliver(Publication("news", "e", 1))
    hub.subscribe(late, "news", FORM)
    hub.deliver(Publication("news", "e", 2))
    hub.unsubscribe(early, "news")
    hub.deliver(Publication("news", "e", 3))
    wheel.run_out()
    assert early.heard == ["news|e|1", "news|e|2"]
    assert late.heard == ["news|e|2", "news|e|3"]


def test_subscribing_twice_delivers_once(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "news", FORM)
    hub.subscribe(member, "news", FORM)
    hub.deliver(Publication("news", "e", 1))
    wheel.run_out()
    assert member.heard == ["news|e|1"]
    assert hub.subscriptions == hub.count("news") == 1


def test_leaving_twice_or_where_one_never_was_is_harmless(hub: Hub, listener: Maker) -> None:
    member = listener("a")
    assert hub.unsubscribe(member, "news") is False
    hub.subscribe(member, "news", FORM)
    assert hub.unsubscribe(member, "news") is True
    assert hub.unsubscribe(member, "news") is False
    assert hub.subscriptions == 0


def test_the_last_to_leave_is_reported_once(wheel: Wheel, listener: Maker) -> None:
    emptied: list[str] = []
    hub = Hub(counters=Counters(), schedule=wheel.schedule, schedule_later=wheel.schedule_later, emptied=emptied.append)
    first, second = listener("first"), listener("second")
    hub.subscribe(first, "news", FORM)
    hub.subscribe(second, "news", FORM, EventFilter(frozenset({"a"})))
    hub.subscribe(second, "news", FORM)  # another filter, same channel
    hub.unsubscribe(first, "news")
    assert emptied == []
    hub.leave(second)
    assert emptied == ["news"]


def test_a_receipt_does_not_count_members_that_a_filter_or_exclusion_leaves_out(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    for name in "abc":
        hub.subscribe(listener(name), "news", FORM)
    hub.subscribe(listener("d"), "news", FORM, EventFilter(frozenset({"other"})))
    everybody, some, nobody = Note(), Note(), Note()
    hub.deliver(Publication("news", "other", 1), everybody)
    hub.deliver(Publication("news", "e", 2, exclude=frozenset({"a", "x"})), some)
    hub.deliver(Publication("empty", "e", 3), nobody)
    wheel.run_out()
    assert everybody.outcomes == [(4, 0)]
    assert some.outcomes == [(2, 0)]
    assert nobody.outcomes == [(0, 0)]


def test_a_publication_that_one_form_cannot_encode_is_refused_there_and_reaches_all_others(
    hub: Hub, wheel: Wheel, counters: Counters, listener: Maker
) -> None:
    able, unable = listener("able"), listener("unable")
    hub.subscribe(able, "news", FORM)
    hub.subscribe(unable, "news", LineForm("some", says_everything=False))
    note, after = Note(), Note()
    hub.deliver(Publication("news", "unsayable", 1), note)
    hub.deliver(Publication("news", "e", 2), after)
    wheel.run_out()
    assert able.heard == ["news|unsayable|1", "news|e|2"]
    assert unable.heard == ["news|e|2"]
    assert [str(outcome) for outcome in note.outcomes] == ["some cannot say unsayable"]
    assert after.outcomes == [(2, 0)]
    assert counters.dropped["unencodable"] == 1


def test_a_slow_member_is_closed_and_others_still_receive(
    hub: Hub, wheel: Wheel, counters: Counters, listener: Maker
) -> None:
    slow, quick = listener("slow", room=1), listener("quick")
    for member in (slow, quick):
        hub.subscribe(member, "news", FORM)
    slow.reads = False
    notes = [Note(), Note(), Note()]
    for number, note in enumerate(notes):
        hub.deliver(Publication("news", "e", number), note)
        wheel.run_out()
    assert slow.cut_off_for == "news"
    assert slow.heard == ["news|e|0"]
    assert quick.heard == ["news|e|0", "news|e|1", "news|e|2"]
    assert [note.outcomes for note in notes] == [[(2, 0)], [(1, 1)], [(1, 0)]]
    assert counters.deliveries == 4


def test_refused_by_policy_counts_as_failed_and_the_member_stays(
    hub: Hub, wheel: Wheel, counters: Counters, listener: Maker
) -> None:
    slow = listener("slow", room=0)
    hub.subscribe(slow, "drop:1", FORM)
    slow.reads = False
    note = Note()
    hub.deliver(Publication("drop:1", "e", 1), note)
    wheel.run_out()
    assert note.outcomes == [(0, 1)]
    assert slow.cut_off_for is None
    assert counters.deliveries == counters.delivered_bytes == 0


@pytest.mark.parametrize("exclude", [frozenset(), frozenset({"nobody"})])
def test_what_is_taken_of_a_run_is_counted_by_publication(
    hub: Hub, wheel: Wheel, counters: Counters, listener: Maker, exclude: frozenset[str]
) -> None:
    slow, quick = listener("slow", room=1), listener("quick")
    for member in (slow, quick):
        hub.subscribe(member, "drop:1", FORM)
    slow.reads = False
    notes = [Note(), Note(), Note()]
    for number, note in enumerate(notes):
        hub.deliver(Publication("drop:1", "e", 10**number, exclude=exclude), note)
    wheel.run_out()
    assert [note.outcomes for note in notes] == [[(2, 0)], [(1, 1)], [(1, 1)]]
    assert counters.deliveries == 4
    assert counters.delivered_bytes == len("drop:1|e|1\n" * 2 + "drop:1|e|10\n" + "drop:1|e|100\n")


@pytest.mark.parametrize("name", ["news", "slow:1"])
def test_a_member_that_is_closed_while_unsubscribing_leaves_once(hub: Hub, listener: Maker, name: str) -> None:
    slow, other = listener("slow", room=0), listener("other")
    hub.subscribe(slow, name, FORM)
    hub.subscribe(slow, "elsewhere", FORM)
    hub.subscribe(other, "elsewhere", FORM)
    slow.reads = False
    hub.deliver(Publication(name, "e", 1))
    assert hub.unsubscribe(slow, name) is False
    assert slow.cut_off_for == name
    assert hub.subscriptions == hub.count("elsewhere") == 1
    assert set(hub.channels) == {"elsewhere"}


def test_a_member_that_is_closed_while_changing_its_filter_is_not_subscribed_again(hub: Hub, listener: Maker) -> None:
    slow = listener("slow", room=0)
    hub.subscribe(slow, "slow:1", FORM)
    slow.reads = False
    hub.deliver(Publication("slow:1", "e", 1))
    hub.subscribe(slow, "slow:1", FORM, EventFilter(frozenset({"e"})))
    assert slow.is_gone
    assert hub.channels == {}
    assert hub.subscriptions == 0


def test_every_member_gets_a_gap_after_earlier_publications(hub: Hub, listener: Maker) -> None:
    first, second = listener("first"), listener("second")
    hub.subscribe(first, "news", FORM)
    hub.subscribe(second, "news", FORM, EventFilter(frozenset({"x"})))
    hub.deliver(Publication("news", "e", 1))
    hub.gap("news")
    assert first.heard == ["news|e|1"]
    assert first.told == second.told == [Gap("news")]
    hub.gap("nobody is here")


def test_a_gap_does_not_overtake_what_an_interval_holds_back(hub: Hub, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "slow:1", FORM)
    hub.deliver(Publication("slow:1", "e", 1))
    hub.gap("slow:1")
    assert member.heard == ["slow:1|e|1"]
    assert member.told == [Gap("slow:1")]


def test_a_publication_is_framed_once_per_form_and_filter(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    form = LineForm("counted")
    for number in range(10):
        hub.subscribe(listener(str(number)), "news", form)
    hub.deliver(Publication("news", "e", 1))
    wheel.run_out()
    assert form.framed == 1
