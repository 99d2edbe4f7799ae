"""Presence of one process: when updates are sent, what is asked for, what a token may say of its user."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from fastws.cluster.channel_presence import PresenceRule
from fastws.cluster.presence import MAX_INFO_BYTES, WRITES_PER_TURN, PresenceMembers, ProcessPresence
from fastws.counters import Counters
from fastws.errors import BadRequest, FastWSError
from fastws.hub.roster import Roster
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.presence import PresenceMember, PresencePage, PresenceUpdate
from tests.brokers.small_cluster import Client
from tests.hub.members import Wheel

RULES = {
    "silent": PresenceRule("members", None),
    "turn": PresenceRule("members", 0.0),
    "slow": PresenceRule("members", 2.0),
    "slow too": PresenceRule("members", 2.0),
}


class Told:
    """A process with presence, of which the updates are written down."""

    def __init__(self) -> None:
        self.wheel = Wheel()
        self.counters = Counters()
        self.updates: list[tuple[float, PresenceUpdate]] = []
        self.steps = [1]
        self.presence = ProcessPresence(
            RULES.get,
            lambda key: PresenceMember(key, key),
            self._notify,
            self.wheel.schedule,
            self.wheel.schedule_later,
            self.counters,
        )

    def _notify(self, name: str, update: PresenceUpdate) -> Iterator[int]:
        assert name == update.channel
        self.updates.append((self.wheel.now, update))
        yield from self.steps

    def page(self, name: str, limit: int = 10) -> PresencePage | FastWSError:
        answers: list[PresencePage | FastWSError] = []
        self.presence.page(name, limit, None, answers.append)
        (answer,) = answers
        return answer


def test_updates_of_zero_seconds_come_once_per_turn() -> None:
    told = Told()
    for name in ("a", "b"):
        told.presence.joined(name, "turn")
    assert told.updates == []
    told.wheel.turn()
    assert [update.count for _, update in told.updates] == [2]
    told.presence.left("a", "turn")
    told.wheel.turn()
    told.wheel.turn()
    assert [update.count for _, update in told.updates] == [2, 1]
    assert told.counters.presence_updates == 2


def test_updates_come_at_most_once_in_their_interval() -> None:
    told = Told()
    told.presence.joined("a", "slow")
    told.wheel.advance(1.9)
    told.presence.joined("b", "slow")
    told.presence.joined("b", "slow too")
    assert told.updates == []
    told.wheel.advance(0.1)
    assert [(at, update.channel, update.count) for at, update in told.updates] == [
        (2.0, "slow", 2),
        (2.0, "slow too", 1),
    ]
    told.presence.joined("c", "slow")
    told.wheel.advance(1.9)
    assert len(told.updates) == 2
    told.wheel.advance(0.1)
    assert [at for at, _ in told.updates] == [2.0, 2.0, 4.0]
    assert told.wheel.timers == []


def test_a_channel_without_updates_sets_no_timer() -> None:
    told = Told()
    told.presence.joined("a", "silent")
    told.presence.left("a", "silent")
    assert (told.wheel.soon, told.wheel.timers, told.presence.channels) == ([], [], {})


def test_an_update_to_many_is_written_in_several_turns_and_before_the_next_one() -> None:
    told = Told()
    told.steps = [WRITES_PER_TURN, WRITES_PER_TURN, 1]
    told.presence.joined("a", "turn")
    told.wheel.turn()
    told.presence.joined("b", "turn")
    assert len(told.updates) == 1
    told.wheel.run_out()
    assert [update.count for _, update in told.updates] == [1, 2]
    assert told.presence._writing == type(told.presence._writing)()


def test_a_channel_without_presence_is_refused_and_keeps_nothing() -> None:
    told = Told()
    told.presence.joined("a", "other")
    assert told.presence.channels == {}
    assert told.presence.members == 0
    assert not told.presence.shows("other")
    answer = told.page("other")
    assert isinstance(answer, BadRequest)
    assert "presence" in answer.message


def test_members_are_counted_and_an_empty_channel_is_forgotten() -> None:
    told = Told()
    told.presence.joined("a", "slow")
    told.presence.joined("a", "silent")
    assert told.presence.members == 2
    assert told.page("slow") == PresencePage("slow", 1, 1, [PresenceMember("a", "a")])
    told.presence.left("a", "slow")
    told.presence.left("a", "slow")
    assert told.presence.members == 1
    assert set(told.presence.channels) == {"silent"}
    assert told.page("slow") == PresencePage("slow", 0, 0, [])
    told.wheel.run_out()
    assert told.updates == []


class Tokened(Client):
    """A client whose token has the claim `info`."""

    info: object = None

    @property
    def identity(self) -> Identity:
        return Identity(self.user, claims={"info": self.info})


@pytest.mark.parametrize(
    ("info", "is_shown"),
    [
        ({"name": "Ann"}, True),
        ("x" * (MAX_INFO_BYTES - 2), True),
        ("x" * (MAX_INFO_BYTES - 1), False),
        (2**70, False),
        (None, False),
        (0, True),
    ],
)
def test_info_is_shown_if_it_is_small_enough_for_every_client(info: object, is_shown: bool) -> None:
    roster = Roster()
    client = Tokened("id", "u")
    client.info = info
    roster.add(client)  # type: ignore[arg-type]
    with capture_logs() as lines:
        found = PresenceMembers(roster)("id")
    assert found == PresenceMember("id", "u", info=info if is_shown else None)
    is_refused = not is_shown and info is not None
    assert [line["event"] for line in lines] == ["presence info ignored"] * is_refused


def test_a_connection_without_a_token_or_that_is_gone_is_no_member() -> None:
    assert PresenceMembers(Roster())("gone") is None
