"""Fan-out of one run: what is written, yielded, counted and reported to receipts."""

from __future__ import annotations

import pytest

from fastws.counters import Counters
from fastws.hub.channel import Audience, Channel
from fastws.hub.fan_out import BULK, SLICE, fan_out
from fastws.vocabulary.publication import Publication
from tests.hub.members import LineForm, Listener, Note


def channel_of(*members: Listener, policy: str = "disconnect", form: LineForm | None = None) -> Channel:
    channel = Channel("news", policy, 0.0)
    form = form or LineForm("lines")
    audience = channel.audiences[(form, None)] = Audience(channel, form, None)
    audience.members.update(dict.fromkeys(members))
    return channel


def publish(channel: Channel, *events: str, exclude: frozenset[str] = frozenset()) -> list[Note]:
    """Add publications to the run; returns their receipts."""
    notes = [Note() for _ in events]
    channel.receipts = [(note, len(channel.run) + index) for index, note in enumerate(notes)]
    channel.run += [Publication("news", event, 1, sender="s", exclude=exclude) for event in events]
    return notes


def written(channel: Channel, counters: Counters) -> list[int]:
    """Fan out to the end; returns the writes of each slice."""
    errors: list[Exception] = []
    slices = list(fan_out(channel, counters, errors.append))
    assert errors == []
    return slices


def test_a_run_is_one_write_per_member() -> None:
    counters, members = Counters(), [Listener("a"), Listener("b")]
    channel = channel_of(*members)
    notes = publish(channel, "e1", "e2")
    assert written(channel, counters) == [2]
    assert [(member.writes, member.heard) for member in members] == [(1, ["news|e1|1", "news|e2|1"])] * 2
    assert [note.outcomes for note in notes] == [[(2, 0)]] * 2
    assert counters.deliveries == 4
    assert counters.delivered_bytes == 2 * len("news|e1|1\nnews|e2|1\n")
    assert (channel.run, channel.receipts) == ([], None)


def test_the_loop_gets_a_turn_after_each_slice() -> None:
    channel = channel_of(*(Listener(str(number)) for number in range(SLICE + 1)))
    publish(channel, "e")
    assert written(channel, Counters()) == [SLICE, SLICE]


@pytest.mark.parametrize(("policy", "outcomes"), [("drop_newest", [(1, 0), (0, 1)]), ("disconnect", [(0, 1), (0, 1)])])
def test_a_blocked_member_queues_what_it_may(policy: str, outcomes: list[tuple[int, int]]) -> None:
    counters, member = Counters(), Listener("a", room=1)
    member.reads = False
    channel = channel_of(member, policy=policy)
    notes = publish(channel, "e1", "e2")
    written(channel, counters)
    assert [note.outcomes for note in notes] == [[outcome] for outcome in outcomes]
    assert counters.deliveries == outcomes[0][0]
    assert member.cut_off_for == ("news" if policy == "disconnect" else None)


def test_excluded_members_do_not_count() -> None:
    counters, members = Counters(), [Listener("a"), Listener("b")]
    channel = channel_of(*members)
    [note] = publish(channel, "e", exclude=frozenset({"b"}))
    written(channel, counters)
    assert note.outcomes == [(1, 0)]
    assert members[1].heard == []


def test_a_publication_that_a_form_cannot_represent_is_an_error_and_the_others_are_written() -> None:
    counters, member = Counters(), Listener("a")
    channel = channel_of(member, form=LineForm("lines", says_everything=False))
    bad, good = publish(channel, "unsayable", "e")
    written(channel, counters)
    assert [str(outcome) for outcome in bad.outcomes] == ["lines cannot say unsayable"]
    assert good.outcomes == [(1, 0)]
    assert member.heard == ["news|e|1"]
    assert counters.dropped["unencodable"] == 1


@pytest.mark.parametrize("is_bulk", [False, True])
def test_only_bulk_pauses_its_publishers(monkeypatch: pytest.MonkeyPatch, is_bulk: bool) -> None:
    member = Listener("a")
    paused: list[object] = []
    monkeypatch.setattr(member, "apply_backpressure", paused.append)
    channel = channel_of(member)
    channel.run = [Publication("news", "e", "x" * (BULK if is_bulk else 1), sender="s")]
    written(channel, Counters())
    assert paused == ([{"s"}] if is_bulk else [])
