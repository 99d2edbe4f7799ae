"""The hub compared with a naive model: members get exactly the right publications, all in one order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastws.counters import Counters
from fastws.dialects.workspaces import EventFilter
from fastws.errors import FastWSError
from fastws.hub import fan_out, tick
from fastws.hub.hub import Hub
from fastws.hub.rules import Rules
from fastws.vocabulary.publication import NOBODY, Publication
from fastws.vocabulary.replies import Gap
from tests.hub.members import LineForm, Listener, Note, Wheel

# Plain; held back for 50 ms; held back, and refusing instead of disconnecting.
CHANNELS = ("plain", "slow", "drop")
EVENTS = ("alert", "metrics", "unsayable")
FILTERS = (None, None, EventFilter(frozenset({"alert"})), EventFilter(frozenset({"alert"}), excluding=True))
FORMS = (LineForm("all"), LineForm("some", says_everything=False))
SEATS = 5

seats = st.integers(0, SEATS - 1)
channels = st.sampled_from(CHANNELS)
subscriptions = st.tuples(seats, channels, st.sampled_from(FORMS), st.sampled_from(FILTERS))
sayings = st.tuples(channels, st.sampled_from(EVENTS), st.one_of(st.none(), st.none(), seats), st.booleans())


class HubMachine(RuleBasedStateMachine):
    """Each rule does something to the hub and the same to the lists of the model. A seat always has a member."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = Wheel()
        self.counters = Counters()
        self.hub = Hub(
            counters=self.counters,
            schedule=self.wheel.schedule,
            schedule_later=self.wheel.schedule_later,
            rules=Rules([("drop", "drop_newest")], [("slow", 0.05), ("drop", 0.02)]),
        )
        # member -> channel -> (form, filter)
        self.subscribed: dict[Listener, dict[str, tuple[LineForm, EventFilter | None]]] = {}
        # member -> channel -> lines it is to be offered
        self.expected: dict[Listener, dict[str, list[str]]] = {}
        self.notes: dict[str, Note] = {}
        self.unsayable: set[str] = set()
        self.number = 0
        self.seats = [self._newcomer() for _ in range(SEATS)]

    def _newcomer(self) -> Listener:
        member = Listener(f"m{len(self.expected)}")
        member.leave = lambda: self._leaves(member)
        self.subscribed[member] = {}
        self.expected[member] = {name: [] for name in CHANNELS}
        return member

    def _leaves(self, member: Listener) -> None:
        member.is_gone = True
        self.subscribed[member].clear()
        self.hub.leave(member)

    @initialize(wanted=st.lists(subscriptions, min_size=5, max_size=12))
    def begin(self, wanted: list[tuple[int, str, LineForm, EventFilter | None]]) -> None:
        for seat, name, form, filter_ in wanted:
            self.hub.subscribe(self.seats[seat], name, form, filter_)
            self.subscribed[self.seats[seat]][name] = (form, filter_)

    @rule(wanted=subscriptions)
    def subscribe(self, wanted: tuple[int, str, LineForm, EventFilter | None]) -> None:
        seat, name, form, filter_ = wanted
        member = self.seats[seat]
        self.hub.flush_channel(name)
        if member.is_gone:  # found too slow: it must not come back
            return
        self.hub.subscribe(member, name, form, filter_)
        self.subscribed[member][name] = (form, filter_)
        self._has_heard_all(member, name)

    @rule(seat=seats, name=channels)
    def unsubscribe(self, seat: int, name: str) -> None:
        member = self.seats[seat]
        was_subscribed = name in self.subscribed[member]
        assert self.hub.unsubscribe(member, name) is (was_subscribed and not member.is_gone)
        self.subscribed[member].pop(name, None)
        self._has_heard_all(member, name)

    @rule(seat=seats)
    def leave(self, seat: int) -> None:
        """A member leaves, and a new one takes the seat."""
        self._leaves(self.seats[seat])
        self.seats[seat] = self._newcomer()

    @rule(said=st.lists(sayings, min_size=1, max_size=6))
    def publish(self, said: list[tuple[str, str, int | None, bool]]) -> None:
        for name, event, excluded, wants_receipt in said:
            self._publish(
                name, event, NOBODY if excluded is None else frozenset({self.seats[excluded].id}), wants_receipt
            )

    def _publish(self, name: str, event: str, exclude: frozenset[str], wants_receipt: bool) -> None:
        self.number += 1
        line = f"{name}|{event}|{self.number}"
        publication = Publication(name, event, self.number, exclude=exclude)
        note = Note() if wants_receipt else None
        if note is not None:
            self.notes[line] = note
        for member, subscribed in self.subscribed.items():
            form, wanted = subscribed.get(name, (None, None))
            if form is None or not (wanted is None or wanted.accepts(publication)):
                continue
            if not form.says(event):
                self.unsayable.add(line)
            elif member.id not in exclude:
                self.expected[member][name].append(line)
        self.hub.deliver(publication, note)

    @rule()
    def turn(self) -> None:
        self.wheel.turn()

    @rule()
    def time_passes(self) -> None:
        self.wheel.advance(0.03)

    @rule()
    def flush(self) -> None:
        self.hub.flush()

    @rule(seat=seats)
    def flush_channels_of(self, seat: int) -> None:
        """Before a direct message to one member."""
        member = self.seats[seat]
        self.hub.flush_channels_of(member)
        for name in CHANNELS:
            self._has_heard_all(member, name)

    @rule(seat=seats, room=st.integers(0, 6))
    def stop_reading(self, seat: int, room: int) -> None:
        self.seats[seat].reads = False
        self.seats[seat].room = room

    @rule(seat=seats, room=st.integers(0, 6), writes=st.integers(1, 3))
    def stop_reading_soon(self, seat: int, room: int, writes: int) -> None:
        """Its socket is full after that many writes, in the middle of a flush."""
        self.seats[seat].writes_left = writes
        self.seats[seat].room = room

    @rule(seat=seats)
    def read_again(self, seat: int) -> None:
        self.seats[seat].read_again()

    @rule(seat=seats, room=st.integers(0, 6))
    def falter(self, seat: int, room: int) -> None:
        """It takes nothing for one turn, and reads again before the next."""
        self.stop_reading(seat, room)
        self.wheel.turn()
        self.read_again(seat)

    @rule(name=channels)
    def gap(self, name: str) -> None:
        listening = [member for member, channels in self.subscribed.items() if name in channels]
        for member in listening:
            member.told.clear()
        self.hub.gap(name)
        assert all(member.told == [Gap(name)] for member in listening if not member.is_gone)

    def _offered(self, member: Listener, name: str) -> list[str]:
        """What was handed to `member`, kept or refused, in the order of publication."""
        lines = [line for line in member.heard + member.refused if line.startswith(f"{name}|")]
        return sorted(lines, key=_number)

    def _has_heard_all(self, member: Listener, name: str) -> None:
        if not member.is_gone:
            assert self._offered(member, name) == self.expected[member][name]

    @invariant()
    def everybody_hears_its_own_in_order_and_nothing_else(self) -> None:
        for member in self.expected:
            for name in CHANNELS:
                heard = [line for line in member.heard if line.startswith(f"{name}|")]
                assert heard == sorted(heard, key=_number)
                offered = self._offered(member, name)
                assert offered == self.expected[member][name][: len(offered)]

    @invariant()
    def the_hub_knows_who_is_where(self) -> None:
        counts = {name: sum(name in channels for channels in self.subscribed.values()) for name in CHANNELS}
        assert {name: self.hub.count(name) for name in CHANNELS} == counts
        assert set(self.hub.channels) == {name for name, count in counts.items() if count}
        assert self.hub.subscriptions == sum(counts.values())

    @invariant()
    def receipts_are_exact(self) -> None:
        for line, note in self.notes.items():
            assert len(note.outcomes) <= 1
            if not note.outcomes:
                continue
            if isinstance(note.outcomes[0], FastWSError):
                assert line in self.unsayable
                continue
            handed = sum(line in member.heard for member in self.expected)
            refused = sum(line in member.refused for member in self.expected)
            assert note.outcomes[0] == (handed, refused)

    def teardown(self) -> None:
        self.wheel.run_out()
        assert self.hub.tick.is_empty
        for member in self.expected:
            for name in CHANNELS:
                self._has_heard_all(member, name)
        self.receipts_are_exact()
        assert all(len(note.outcomes) == 1 for note in self.notes.values())
        for member in self.seats:
            self._leaves(member)
        assert self.hub.channels == {}
        assert self.hub.subscriptions == 0


def _number(line: str) -> int:
    return int(line.rpartition("|")[2])


class SlicedHubMachine(HubMachine):
    """The same with write phases that yield to the loop after every second member, and a channel all are in."""

    @initialize()
    def crowd(self) -> None:
        for seat in range(SEATS):
            self.subscribe((seat, "plain", FORMS[0], None))

    @rule(wanted=st.lists(seats, min_size=1, max_size=SEATS))
    def crowd_again(self, wanted: list[int]) -> None:
        for seat in wanted:
            self.subscribe((seat, "plain", FORMS[0], None))

    @rule(said=st.lists(sayings, min_size=1, max_size=3), faltering=st.lists(seats, min_size=1, max_size=4))
    def falter_amid_slices(self, said: list[tuple[str, str, int | None, bool]], faltering: list[int]) -> None:
        """Publish, and block another member in each turn while it is written."""
        self.publish(said)
        for seat in faltering:
            self.falter(seat, 6)


@pytest.fixture
def _slices_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "SLICE", 2)
    monkeypatch.setattr(tick, "WRITES_PER_TURN", 2)


TestHub = HubMachine.TestCase
TestHub.settings = settings(max_examples=70, stateful_step_count=40, deadline=None, derandomize=True)


@pytest.mark.usefixtures("_slices_of_two")
class TestSlicedHub(SlicedHubMachine.TestCase):  # type: ignore[name-defined, misc] # hypothesis makes it
    settings = settings(max_examples=70, stateful_step_count=40, deadline=None, derandomize=True)
