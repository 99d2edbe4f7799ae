"""Replays share their frames."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from fastws.counters import Counters
from fastws.errors import Unencodable
from fastws.session import recovery
from fastws.session.recovery import ReplayedFrames
from fastws.vocabulary.positions import Outcome, Past, Position, Recovery
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Standing


class Form:
    """Counts the frames that it makes."""

    def __init__(self, name: bytes = b"a") -> None:
        self.name = name
        self.made = 0

    def frame(self, publication: Publication) -> bytes:
        if publication.event == "unencodable":
            raise Unencodable("no")
        self.made += 1
        return b"%b:%d" % (self.name, publication.offset or 0)

    def reply(self, reply: object) -> bytes | None:
        raise AssertionError(reply)


def publications(count: int) -> list[Publication]:
    return [Publication("c", "e", None, offset=number) for number in range(1, count + 1)]


def test_clients_of_one_form_share_the_frames_of_the_same_publications() -> None:
    frames, form, past = ReplayedFrames(), Form(), publications(3)
    for _ in range(5):
        assert [frames(form, publication) for publication in past] == [b"a:1", b"a:2", b"a:3"]
    assert form.made == 3


def test_forms_share_nothing() -> None:
    frames, one, two, (publication,) = ReplayedFrames(), Form(b"a"), Form(b"b"), publications(1)
    assert [frames(form, publication) for form in (one, two, one, two)] == [b"a:1", b"b:1", b"a:1", b"b:1"]
    assert (one.made, two.made) == (1, 1)


def test_equal_publications_that_are_not_the_same_have_frames_of_their_own() -> None:
    frames, form = ReplayedFrames(), Form()
    for _ in range(100):
        (publication,) = publications(1)
        frames(form, publication)
        del publication
    assert form.made == 100


def test_what_cannot_be_encoded_is_refused_each_time() -> None:
    frames, form, publication = ReplayedFrames(), Form(), Publication("c", "unencodable", None, offset=1)
    for _ in range(2):
        with pytest.raises(Unencodable):
            frames(form, publication)


@pytest.mark.parametrize("bound", ["MAX_FRAMES", "MAX_FRAME_BYTES"])
def test_frames_are_bounded(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(recovery, bound, 9)
    frames, form, past = ReplayedFrames(), Form(), publications(50)
    for publication in past:
        frames(form, publication)
        assert len(frames._frames) <= 9
    assert frames(form, past[-1]) == b"a:50"
    assert form.made == 50


class Joining:
    """What a replay needs of a session. `standings` and `frames` are what the client gets."""

    def __init__(self) -> None:
        self.peer = SimpleNamespace(id="me")
        self.form = Form()
        self.counters = Counters()
        self.services = SimpleNamespace(counters=self.counters, replayed_frames=ReplayedFrames())
        self.standings: list[Standing | None] = []
        self.frames: list[bytes] = []

    def replay(self, frames: Iterable[bytes], channel: str) -> None:
        self.frames += frames


@pytest.mark.parametrize(
    ("outcome", "past", "standing", "counted"),
    [
        ("recovered", Position(1, "x"), Standing(Position(3, "x"), True, 3), {"recovered": 1}),
        ("too_old", Position(1, "x"), Standing(Position(3, "x"), False, 3), {"too_old": 1}),
        ("unavailable", Position(1, "x"), Standing(Position(3, "x"), False, 3), {}),
        (None, 3, Standing(Position(3, "x"), None, 3), {}),
        (None, None, Standing(Position(3, "x"), None, None), {}),
    ],
)
def test_recoveries_and_replays_are_counted(
    outcome: Outcome | None, past: Past, standing: Standing, counted: dict[str, int]
) -> None:
    session = Joining()
    found = Recovery(Position(3, "x"), outcome, tuple(publications(3)))
    recovery.replay(session, "c", found, past, None, session.standings.append)  # type: ignore[arg-type]
    assert session.standings == [standing]
    assert session.frames == [b"a:1", b"a:2", b"a:3"]
    assert (session.counters.recoveries, session.counters.replayed_messages) == (counted, 3)


def test_what_the_connection_itself_was_excluded_from_is_not_replayed() -> None:
    session = Joining()
    mine = Publication("c", "e", None, offset=2, exclude=frozenset(("me",)))
    theirs = Publication("c", "e", None, offset=3, exclude=frozenset(("another",)))
    found = Recovery(Position(3, "x"), "recovered", (mine, theirs))
    recovery.replay(session, "c", found, Position(1, "x"), None, session.standings.append)  # type: ignore[arg-type]
    assert session.standings == [Standing(Position(3, "x"), True, 1)]
    assert session.frames == [b"a:3"]
