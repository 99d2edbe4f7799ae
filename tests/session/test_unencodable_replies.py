"""Answers that the client's codec cannot represent as a whole: the client gets an error or the rest, never silence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastws.counters import Counters
from fastws.errors import Unencodable
from fastws.session.presence import read_presence
from fastws.session.recovery import read_history
from fastws.vocabulary.commands import ReadHistory, ReadPresence
from fastws.vocabulary.positions import Page, Position
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import HistoryPage


class Session(SimpleNamespace):
    """A session whose codec cannot represent what contains `bad`."""

    def __init__(self, page: object) -> None:
        answer = lambda *_, answer=None, **__: answer(page)  # noqa: E731
        self.heard: list[object] = []
        presence = SimpleNamespace(page=lambda channel, limit, cursor, receive: receive(page))
        self.form: Any = None
        self.services = SimpleNamespace(
            history=SimpleNamespace(page=answer),
            hub=SimpleNamespace(presence=presence),
            counters=Counters(),
            replayed_frames=self._frame,
        )

    def _frame(self, form: object, publication: Publication) -> bytes:
        if publication.data == "bad":
            raise Unencodable("too deep")
        return b""

    def send_reply(self, reply: Any, request_id: object) -> None:
        if not isinstance(reply, HistoryPage):
            raise Unencodable("too deep")
        for publication in reply.publications:
            self._frame(None, publication)
        self.heard.append([publication.data for publication in reply.publications])

    def refuse(self, error: object, request_id: object) -> None:
        self.heard.append(error)


def test_a_page_of_history_leaves_out_what_cannot_be_represented() -> None:
    publications = [Publication("c", "e", data) for data in ("a", "bad", "b")]
    session = Session(Page(publications, Position(3, "e")))
    read_history(session, "c", ReadHistory("c", 10), None)  # type: ignore[arg-type]
    assert session.heard == [["a", "b"]]
    assert session.services.counters.dropped["unencodable"] == 1


def test_members_that_cannot_be_represented_are_an_error() -> None:
    session = Session(object())
    read_presence(session, "c", ReadPresence("c", 10), None)  # type: ignore[arg-type]
    assert [type(error) for error in session.heard] == [Unencodable]
