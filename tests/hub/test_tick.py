"""When publications are written: once an iteration, after an interval, in slices; never in another order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastws.counters import Counters
from fastws.errors import FastWSError
from fastws.hub.fan_out import BULK, SLICE
from fastws.hub.hub import Hub
from fastws.vocabulary.publication import Encoded, Publication
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


def test_the_interval_begins_again_with_the_next_publication(hub: Hub, wheel: Wheel, listener: Maker) -> None:
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


def test_what_arrives_during_the_last_slice_of_a_large_channel_is_joined_into_the_next_write(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    members = [listener(str(number)) for number in range(SLICE + 1)]
    for member in members:
        hub.subscribe(member, "news", FORM)
    for number in (1, 2):
        hub.deliver(Publication("news", "e", number))
        wheel.turn()
    assert {tuple(member.heard) for member in members} == {("news|e|1",)}
    hub.deliver(Publication("news", "e", 3))
    wheel.run_out()
    assert all(member.heard == ["news|e|1", "news|e|2", "news|e|3"] for member in members)


def test_a_member_that_leaves_between_two_slices_gets_no_more_and_others_lose_nothing(
    hub: Hub, wheel: Wheel, listener: Maker, counters: Counters
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
    assert note.outcomes == [(len(members) - 1, 0)]
    assert counters.deliveries == len(members) - 1
    assert counters.delivered_bytes == len("news|e|1\n") * (len(members) - 1)


@pytest.mark.parametrize("exclude", [frozenset(), frozenset({"nobody"})])
@pytest.mark.parametrize("place", [0, SLICE - 1, SLICE, 2 * SLICE - 1])
def test_a_member_blocked_for_one_turn_of_a_long_write_phase_loses_nothing(
    hub: Hub, wheel: Wheel, listener: Maker, exclude: frozenset[str], place: int
) -> None:
    members = [listener(str(number)) for number in range(2 * SLICE)]
    for member in members:
        hub.subscribe(member, "news", FORM)
    jittery, note = members[place], Note()
    hub.deliver(Publication("news", "e", 1, exclude=exclude), note)
    hub.deliver(Publication("news", "e", 2))
    for _ in range(2):
        jittery.reads = False
        wheel.turn()
        jittery.read_again()
    hub.deliver(Publication("news", "e", 3))
    wheel.run_out()
    assert jittery.heard == ["news|e|1", "news|e|2", "news|e|3"]
    assert note.outcomes == [(len(members), 0)]


def test_a_member_blocked_while_other_channels_are_written_loses_nothing(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    jittery = listener("jittery")
    hub.subscribe(jittery, "small", FORM)
    for number in range(SLICE):
        hub.subscribe(listener(str(number)), "news", FORM)
    jittery.reads = False
    for name in ("news", "small"):
        hub.deliver(Publication(name, "e", 1))
    hub.deliver(Publication("small", "e", 2))
    wheel.turn()
    jittery.read_again()
    wheel.turn()
    hub.deliver(Publication("small", "e", 3))
    wheel.run_out()
    assert jittery.heard == ["small|e|1", "small|e|2", "small|e|3"]


def test_a_member_closed_in_one_slice_is_not_counted_in_the_next_run(
    hub: Hub, wheel: Wheel, listener: Maker, counters: Counters
) -> None:
    slow = listener("slow", room=0)
    hub.subscribe(slow, "news", FORM)
    for number in range(SLICE):
        hub.subscribe(listener(str(number)), "news", FORM)
    slow.reads = False
    notes = [Note(), Note()]
    hub.deliver(Publication("news", "e", 1), notes[0])
    wheel.turn()
    assert slow.cut_off_for == "news"
    hub.deliver(Publication("news", "e", 2), notes[1])
    wheel.run_out()
    assert [note.outcomes for note in notes] == [[(SLICE, 1)], [(SLICE, 0)]]
    assert counters.deliveries == 2 * SLICE


def test_a_subscription_between_two_slices_gets_only_later_publications(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
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


def test_an_internal_error_in_one_channel_is_reported_and_the_others_are_written(wheel: Wheel, listener: Maker) -> None:
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


class BrokenNote(Note):
    """A receipt that raises for every result."""

    def done(self, sent: int, failed: int) -> None:
        super().done(sent, failed)
        raise RuntimeError("a bug in a receipt")

    def refused(self, error: FastWSError) -> None:
        super().refused(error)
        raise RuntimeError("a bug in a receipt")


def a_hub_of(
    wheel: Wheel,
    errors: list[Exception],
    *,
    after_flush: Callable[[], None] = lambda: None,
    emptied: Callable[[str], None] = lambda _: None,
) -> Hub:
    return Hub(
        counters=Counters(),
        schedule=wheel.schedule,
        schedule_later=wheel.schedule_later,
        after_flush=after_flush,
        emptied=emptied,
        failed=errors.append,
    )


@pytest.mark.parametrize("form", [FORM, Broken("broken")])
@pytest.mark.parametrize("exclude", [frozenset(), frozenset({"x"})])
def test_a_receipt_that_raises_is_called_once_and_so_are_its_neighbours(
    wheel: Wheel, form: LineForm, exclude: frozenset[str]
) -> None:
    errors: list[Exception] = []
    hub = a_hub_of(wheel, errors)
    member = Listener("a")
    hub.subscribe(member, "news", form)
    for _ in range(2):
        notes = [Note(), BrokenNote(), Note()]
        for number, note in enumerate(notes):
            hub.deliver(Publication("news", "e", number, exclude=exclude), note)
        wheel.run_out()
        assert [len(note.outcomes) for note in notes] == [1, 1, 1]
        assert [note.outcomes == [(1, 0)] for note in notes] == [form is FORM] * 3
    assert [str(error) for error in errors].count("a bug in a receipt") == 2
    assert hub.tick.is_empty


def test_a_receipt_that_raises_without_subscribers_is_reported(wheel: Wheel) -> None:
    errors: list[Exception] = []
    a_hub_of(wheel, errors).deliver(Publication("empty", "e", 1), BrokenNote())
    assert [str(error) for error in errors] == ["a bug in a receipt"]


class BrokenListener(Listener):
    """A member that raises in what the test names."""

    def __init__(self, name: str, breaks: str) -> None:
        super().__init__(name, room=0)
        setattr(self, breaks, self._break)
        self.reads = breaks not in ("enqueue", "cut_off")

    def _break(self, *_: object) -> bool:
        raise RuntimeError("a bug in a member")


@pytest.mark.parametrize("breaks", ["send", "enqueue", "cut_off"])
def test_a_member_that_raises_counts_as_failed_and_the_others_receive(wheel: Wheel, breaks: str) -> None:
    errors: list[Exception] = []
    hub = a_hub_of(wheel, errors)
    members = [Listener("a", room=0), BrokenListener("b", breaks), Listener("c"), Listener("d", room=1)]
    for member in members:
        hub.subscribe(member, "news", FORM)
        member.leave = lambda member=member: hub.leave(member)
    members[0].reads = members[3].reads = False
    note = Note()
    hub.deliver(Publication("news", "e", 1), note)
    wheel.run_out()
    assert [str(error) for error in errors] == ["a bug in a member"]
    assert members[0].cut_off_for == "news"
    assert members[2].heard == members[3].heard == ["news|e|1"]
    assert note.outcomes == [(2, 2)]


def test_a_member_that_raises_gets_a_gap_and_so_do_the_others(wheel: Wheel) -> None:
    errors: list[Exception] = []
    hub = a_hub_of(wheel, errors)
    other = Listener("other")
    for member in (BrokenListener("b", "notify"), other):
        hub.subscribe(member, "news", FORM)
    hub.gap("news")
    assert len(errors) == len(other.told) == 1


def test_bulk_slows_its_senders_down_though_a_member_raises(wheel: Wheel) -> None:
    errors: list[Exception] = []
    hub = a_hub_of(wheel, errors)
    slowed: list[set[str]] = []
    other = Listener("other")
    other.apply_backpressure = slowed.append  # type: ignore[method-assign, assignment] # what the hub calls
    for member in (BrokenListener("b", "apply_backpressure"), other):
        hub.subscribe(member, "news", FORM)
    hub.deliver(Publication("news", "e", "x" * BULK, sender="s"))
    hub.deliver(Publication("news", "e", "by nobody"))
    wheel.run_out()
    assert slowed == [{"s"}]
    assert len(errors) == 1
    hub.deliver(Publication("news", "e", "little", sender="s"))
    wheel.run_out()
    assert len(slowed) == 1


def test_callbacks_after_a_flush_and_for_empty_channels_may_raise(wheel: Wheel) -> None:
    errors: list[Exception] = []

    def breaks(_: str = "") -> None:
        raise RuntimeError("a bug above the hub")

    hub = a_hub_of(wheel, errors, after_flush=breaks, emptied=breaks)
    member, leaver = Listener("a"), Listener("b")
    for name in ("news", "other"):
        hub.subscribe(leaver, name, FORM)
    hub.leave(leaver)
    assert hub.channels == {}
    assert len(errors) == 2
    for number in range(2):
        hub.subscribe(member, "news", FORM)
        hub.deliver(Publication("news", "e", number))
        wheel.run_out()
        hub.unsubscribe(member, "news")
    assert member.heard == ["news|e|0", "news|e|1"]
    assert {str(error) for error in errors} == {"a bug above the hub"}


def test_the_hub_continues_whatever_its_own_report_raises(wheel: Wheel, listener: Maker) -> None:
    def report(error: Exception) -> None:
        raise error

    hub = Hub(counters=Counters(), schedule=wheel.schedule, schedule_later=wheel.schedule_later, failed=report)
    member = listener("a")
    hub.subscribe(member, "broken", Broken("broken"))
    hub.subscribe(member, "news", FORM)
    for number in range(2):
        for name in ("broken", "news"):
            hub.deliver(Publication(name, "e", number))
        with pytest.raises(RuntimeError, match="a bug in a wire form"):
            wheel.turn()
        wheel.turn()
        assert member.heard == [f"news|e|{n}" for n in range(number + 1)]
        assert hub.tick.is_empty


@pytest.mark.parametrize("name", ["news", "slow:1"])
def test_flushing_a_channel_writes_its_pending_publications(hub: Hub, listener: Maker, name: str) -> None:
    member = listener("a")
    hub.subscribe(member, name, FORM)
    assert hub.is_flushed(name)
    hub.deliver(Publication(name, "e", 1))
    assert not hub.is_flushed(name)
    hub.flush_channel(name)
    assert hub.is_flushed(name)
    assert member.heard == [f"{name}|e|1"]


def crowd(hub: Hub, listener: Maker, name: str, count: int) -> list[Listener]:
    members = [listener(f"{name} {number}") for number in range(count)]
    for member in members:
        hub.subscribe(member, name, FORM)
    return members


def written(members: list[Listener]) -> int:
    return sum(len(member.heard) for member in members)


def test_an_immediate_flush_of_one_channel_does_not_affect_the_slices_of_others(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    members = crowd(hub, listener, "news", 3 * SLICE)
    member = listener("a")
    hub.subscribe(member, "other", FORM)
    hub.subscribe(member, "slow:1", FORM)
    hub.deliver(Publication("news", "e", 1))
    wheel.turn()
    for name in ("other", "slow:1"):
        hub.deliver(Publication(name, "e", 2))
    assert not hub.is_flushed("news")
    hub.flush_channel("other")
    hub.subscribe(listener("b"), "slow:1", FORM)
    hub.subscribe(listener("c"), "new", FORM)
    hub.unsubscribe(member, "other")
    hub.flush_channel("nobody is here")
    hub.gap("slow:1")
    assert member.heard == ["other|e|2", "slow:1|e|2"]
    assert written(members) == SLICE
    wheel.turn()
    assert written(members) == 2 * SLICE
    wheel.run_out()
    assert written(members) == 3 * SLICE
    assert hub.is_flushed("news")


def test_a_channel_amid_its_slices_is_written_to_its_end_and_its_next_run_too(
    hub: Hub, wheel: Wheel, listener: Maker
) -> None:
    members, others = crowd(hub, listener, "news", 2 * SLICE), crowd(hub, listener, "other", 2)
    hub.deliver(Publication("news", "e", 1))
    hub.deliver(Publication("other", "e", 1))
    wheel.turn()
    hub.deliver(Publication("news", "e", 2))
    hub.flush_channel("news")
    assert all(member.heard == ["news|e|1", "news|e|2"] for member in members)
    assert written(others) == 0
    wheel.run_out()
    assert written(others) == 2
    hub.deliver(Publication("news", "e", 3))
    wheel.run_out()
    assert all(member.heard == ["news|e|1", "news|e|2", "news|e|3"] for member in members)


def test_a_direct_message_waits_only_for_the_channels_of_its_member(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    members = crowd(hub, listener, "news", 2 * SLICE)
    member = listener("a")
    for name in ("x", "slow:1"):
        hub.subscribe(member, name, FORM)
        hub.deliver(Publication(name, "e", 1))
    hub.deliver(Publication("news", "e", 1))
    hub.flush_channels_of(member)
    assert member.heard == ["x|e|1", "slow:1|e|1"]
    assert written(members) == 0


def test_a_channel_written_between_its_turns_is_written_once_in_each(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    member = listener("a")
    for name in ("news", "slow:1"):
        hub.subscribe(member, name, FORM)
    for number in range(3):
        for name in ("news", "slow:1"):
            hub.deliver(Publication(name, "e", number))
            hub.flush_channel(name)
    assert len(wheel.soon) == len(wheel.timers) == 1
    wheel.run_out()
    assert member.writes == 6
    for name in ("news", "slow:1"):
        hub.deliver(Publication(name, "e", 3))
    wheel.run_out()
    assert member.heard[-2:] == ["news|e|3", "slow:1|e|3"]
    assert hub.tick.is_empty


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([1, 1, 1, 1], id="messages"),
        pytest.param(["x" * 100, "x" * 900], id="text"),
        pytest.param([b"x" * 100, [{"x" * 450: ("x" * 450,)}]], id="a value"),
        pytest.param([1, 1, Encoded("json", b"x" * 992)], id="encoded"),
    ],
)
def test_an_interval_holds_back_no_more_than_a_queue_may_take(
    hub: Hub, wheel: Wheel, listener: Maker, data: list[object]
) -> None:
    member = listener("a")
    hub.subscribe(member, "slow:1", FORM)
    for _ in range(3):
        for value in data[:-1]:
            hub.deliver(Publication("slow:1", "e", value))
        wheel.turn()
        assert member.heard == []
        hub.deliver(Publication("slow:1", "e", data[-1]))
        hub.deliver(Publication("slow:1", "e", "in the same turn"))
        wheel.turn()
        assert len(member.heard) == len(data) + 1
        assert member.writes == 1
        wheel.run_out()
        assert member.writes == 1
        member.heard.clear()
        member.writes = 0
        assert hub.tick.is_empty


def test_other_channels_hold_back_nothing_and_have_no_longest_run(hub: Hub, wheel: Wheel, listener: Maker) -> None:
    member = listener("a")
    hub.subscribe(member, "news", FORM)
    for number in range(10):
        hub.deliver(Publication("news", "e", number))
    wheel.turn()
    assert member.writes == 1
