"""A hub on a wheel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastws.counters import Counters
from fastws.hub.hub import Hub, LongestRun
from fastws.hub.rules import Rules
from tests.hub.members import Listener, Wheel


@pytest.fixture
def wheel() -> Wheel:
    return Wheel()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def hub(wheel: Wheel, counters: Counters) -> Hub:
    """A hub whose `slow:…` channels collect for 50 ms, up to 4 messages and 1000 bytes.

    Its `drop:…` channels refuse when full.
    """
    return Hub(
        counters=counters,
        schedule=wheel.schedule,
        schedule_later=wheel.schedule_later,
        rules=Rules([("drop:*", "drop_newest")], [("slow:*", 0.05)]),
        longest_run=LongestRun(messages=4, bytes=1000),
    )


@pytest.fixture
def listener(hub: Hub) -> Callable[..., Listener]:
    """Makes members of `hub` that leave it when they are cut off."""

    def make(name: str, *, room: int = 4) -> Listener:
        member = Listener(name, room)
        member.leave = lambda: hub.leave(member)
        return member

    return make
