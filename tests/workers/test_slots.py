"""Slots: the delay of restarts, and the sockets of a slot while it waits for one."""

from __future__ import annotations

import socket
from typing import cast

import pytest

from fastws.config import Config
from fastws.workers.child import Child
from fastws.workers.slots import HEALTHY_SECONDS, Slot, open_slots


class Exited:
    """A worker that was started at `started_at` and has exited."""

    is_leaving = False

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at


def delay(slot: Slot, seconds: float = 0.0) -> float:
    """The delay of the restart after a worker of `slot` has run for `seconds`."""
    slot.note_death(cast("Child", Exited(0.0)), seconds)
    assert slot.restart_at is not None
    return slot.restart_at - seconds


def test_each_exit_in_a_row_doubles_the_delay_up_to_a_maximum() -> None:
    slot = Slot(0, [], [])
    assert [delay(slot) for _ in range(9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]
    assert slot.deaths == 9


def test_slots_do_not_share_their_delay() -> None:
    first, second = Slot(0, [], []), Slot(1, [], [])
    assert [delay(first), delay(first), delay(second)] == [0.2, 0.4, 0.2]


def test_a_worker_that_was_healthy_starts_the_delay_again() -> None:
    slot = Slot(0, [], [])
    assert [delay(slot), delay(slot)] == [0.2, 0.4]
    assert delay(slot, HEALTHY_SECONDS) == pytest.approx(0.2)
    assert delay(slot, HEALTHY_SECONDS - 1) == pytest.approx(0.4)


def test_a_slot_that_waits_long_closes_its_sockets_until_it_is_reopened() -> None:
    (slot,) = open_slots(Config(host="127.0.0.1", port=0))
    address = slot.sockets[0].getsockname()
    try:
        for _ in range(3):  # up to 0.8 s the connections wait in the backlog
            delay(slot)
        assert [listener.getsockname() for listener in slot.sockets] == [address]
        delay(slot)
        assert slot.sockets == []
        slot.reopen()
        assert [listener.getsockname() for listener in slot.sockets] == [address]
        kept = list(slot.sockets)
        slot.reopen()
        assert slot.sockets == kept
    finally:
        slot.close()


def test_slots_share_one_port_that_no_other_program_gets() -> None:
    slots = open_slots(Config(host="127.0.0.1", port=0, workers=3))
    try:
        ports = {listener.getsockname()[1] for slot in slots for listener in slot.sockets}
        assert len(ports) == 1
        with pytest.raises(OSError, match="in use"):
            open_slots(Config(host="127.0.0.1", port=ports.pop(), workers=2))
    finally:
        for slot in slots:
            slot.close()
    assert all(slot.sockets == [] for slot in slots)


def test_a_slot_is_served_by_a_worker_that_is_not_leaving() -> None:
    child = Exited(0.0)
    slot = Slot(0, [(socket.AF_INET, ("127.0.0.1", 0))], [], [cast("Child", child)])
    assert slot.is_served
    child.is_leaving = True
    assert not slot.is_served
