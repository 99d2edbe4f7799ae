"""The states of a connection."""

from __future__ import annotations

from itertools import product

from fastws.transport.states import TRANSITIONS, Event, State


def test_every_event_has_its_answer_in_every_state() -> None:
    assert set(TRANSITIONS) == set(product(State, Event))


def test_no_state_is_entered_again_once_it_was_left() -> None:
    assert all(after >= before for (before, _), after in TRANSITIONS.items())


def test_a_lost_transport_is_the_end_and_nothing_comes_after() -> None:
    assert {TRANSITIONS[state, Event.LOST] for state in State} == {State.CLOSED}
    assert {TRANSITIONS[State.CLOSED, event] for event in Event} == {State.CLOSED}


def test_everything_that_happens_to_an_open_connection_ends_it() -> None:
    assert all(TRANSITIONS[State.OPEN, event] is not State.OPEN for event in Event)
