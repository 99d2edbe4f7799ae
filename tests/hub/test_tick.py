"""When publications are written: once an iteration, after an interval, in slices; never in another order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastws.counters import Counters
from fastws.errors import FastWSError
from fastws.hub.fan_out import SLICE
from fastws.hub.hub import Hub
from fastws.vocabulary.publication import Publication
from tests.hub.members import LineForm, Listener, Note, Wheel

FORM = LineForm("all")
Maker = Callable[..., Listener]


def test_publications_of_one_iteration_are_one_write(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "news", FORM)
    for number in range(3):
        hub.deliver(Publication("news", "e", number))
    assert member.heard == []
    assert len(wheel.soon) == 1
    wheel.turn()
    assert member.heard == ["news|e|0", "news|e|1", "news|e|2"]
    assert member.writes == 1


def test_an_interval_holds_back_and_other_channels_do_not_wait(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "slow:1", FORM)
    hub.subscribe(member, "news", FORM)
    hub.deliver(Publication("slow:1", "e", 1))
    hub.deliver(Publication("news", "e", 2))
    wheel.turn()
    assert member.heard == ["news|e|2"]
    wheel.advance(0.04)
    hub.deliver(Publication("slow:1", "e", 3))
    assert member.heard == ["news|e|2"]
    wheel.advance(0.02)
    assert member.heard == ["news|e|2", "slow:1|e|1", "slow:1|e|3"]


def test_the_interval_begins_anew_with_the_next_publication(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "slow:1", FORM)
    for number in range(3):
        hub.deliver(Publication("slow:1", "e", number))
        wheel.advance(0.05)
        assert len(member.heard) == number + 1
    assert wheel.timers == []


def test_flush_all_writes_what_intervals_hold_back(hub: Hub, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "slow:1", FORM)
    hub.deliver(Publication("slow:1", "e", 1))
    hub.flush()
    assert member.heard == []
    hub.tick.flush_all()
    assert member.heard == ["slow:1|e|1"]


def test_a_long_write_phase_yields_to_the_loop_after_a_slice(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    members = [listener(str(number)) for number in range(2 * SLICE + 10)]
    for member in members:
        hub.subscribe(member, "news", FORM)
    note = Note()
    hub.deliver(Publication("news", "e", 1), note)
    wheel.turn()
    assert sum(bool(member.heard) for member in members) == SLICE
    assert note.outcomes == []
    hub.deliver(Publication("news", "e", 2))
    wheel.turn()
    assert sum(bool(member.heard) for member in members) == 2 * SLICE
    wheel.run_out()
    assert all(member.heard == ["news|e|1", "news|e|2"] for member in members)
    assert note.outcomes == [(len(members), 0)]


def test_who_leaves_between_two_slices_hears_no_more_and_others_miss_nothing(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    members = [listener(str(number)) for number in range(2 * SLICE)]
    for member in members:
        hub.subscribe(member, "news", FORM)
    note = Note()
    hub.deliver(Publication("news", "e", 1), note)
    wheel.turn()
    gone = members[-1]
    gone.is_gone = True
    hub.leave(gone)
    wheel.run_out()
    assert gone.heard == []
    assert all(member.heard == ["news|e|1"] for member in members[:-1])
    assert note.outcomes == [(len(members), 0)]


def test_a_subscription_between_two_slices_hears_only_what_comes_after(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    members = [listener(str(number)) for number in range(2 * SLICE)]
    for member in members:
        hub.subscribe(member, "news", FORM)
    hub.deliver(Publication("news", "e", 1))
    wheel.turn()
    late = listener("late")
    hub.flush_channel("news")
    hub.subscribe(late, "news", FORM)
    assert all(member.heard == ["news|e|1"] for member in members)
    hub.deliver(Publication("news", "e", 2))
    wheel.run_out()
    assert late.heard == ["news|e|2"]


def test_a_channel_whose_interval_ends_during_slices_can_be_joined(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    first = listener("first")
    hub.subscribe(first, "slow:1", FORM)
    for number in range(2 * SLICE):
        hub.subscribe(listener(str(number)), "news", FORM)
    hub.deliver(Publication("slow:1", "e", 1))
    hub.deliver(Publication("news", "e", 2))
    wheel.turn()  # the first slice of news
    wheel.advance(0.05)  # slow:1 is due, and waits for the other slices
    late = listener("late")
    hub.flush_channel("slow:1")
    hub.subscribe(late, "slow:1", FORM)
    wheel.run_out()
    assert first.heard == ["slow:1|e|1"]
    assert late.heard == []


class Broken(LineForm):
    def frame(self, publication: Publication) -> bytes:
        raise RuntimeError("a bug in a wire form")


def test_an_error_of_ours_in_one_channel_is_reported_and_the_others_are_written(wheel: Wheel, listener: Maker) -> None:
    errors: list[Exception] = []
    hub = Hub(counters=Counters(), schedule=wheel.schedule, schedule_later=wheel.schedule_later, failed=errors.append)
    well, unwell = listener("well"), listener("unwell")
    hub.subscribe(unwell, "broken", Broken("broken"))
    hub.subscribe(well, "news", FORM)
    note = Note()
    for number in range(2):
        hub.deliver(Publication("broken", "e", number), note)
        hub.deliver(Publication("news", "e", number))
        wheel.run_out()
    assert [str(error) for error in errors] == ["a bug in a wire form"] * 2
    assert well.heard == ["news|e|0", "news|e|1"]
    assert [isinstance(outcome, FastWSError) for outcome in note.outcomes] == [True, True]
    assert hub.tick.is_empty


@pytest.mark.parametrize("name", ["news", "slow:1"])
def test_settling_a_channel_writes_what_it_holds(hub: Hub, listener: Maker, name: str) -> None:
    member = listener("a")
    hub.subscribe(member, name, FORM)
    assert hub.is_flushed(name)
    hub.deliver(Publication(name, "e", 1))
    assert not hub.is_flushed(name)
    hub.flush_channel(name)
    assert hub.is_flushed(name)
    assert member.heard == [f"{name}|e|1"]
