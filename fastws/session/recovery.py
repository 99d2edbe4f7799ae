"""Recovery: a new member of a channel gets what it asks for of the past, before live publications."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from fastws.errors import BadRequest, FastWSError, Unencodable
from fastws.session.waiting import wait_for
from fastws.vocabulary.commands import ReadHistory, RequestId
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.positions import Page, Past, Recovery
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import HistoryPage, Standing

if TYPE_CHECKING:
    from fastws.hub.ports import WireForm
    from fastws.session.session import Session

# Frames of replays that are kept for the next one, and their bytes.
MAX_FRAMES: Final = 4096
MAX_FRAME_BYTES: Final = 1_048_576

Joined = Callable[[Standing | None], None]


def replay(
    session: Session, channel: str, recovery: Recovery, past: Past, filter_: Filter | None, joined: Joined
) -> None:
    """Call `joined` with the standing of a client that has just become a member, then send it what it missed."""
    counters = session.services.counters
    publications = _wanted(session, recovery.publications, filter_)
    if recovery.outcome not in (None, "unavailable"):
        counters.recoveries[recovery.outcome] += 1
    replayed = None if past is None else len(publications)
    joined(Standing(recovery.position, recovery.is_recovered, replayed))
    if publications:
        counters.replayed_messages += len(publications)
        session.replay(_frames(session, publications), channel)


def _wanted(session: Session, past: Sequence[Publication], filter_: Filter | None) -> list[Publication]:
    """Return what the client would have heard of `past`."""
    own_id = session.peer.id
    return [
        publication
        for publication in past
        if own_id not in publication.exclude and (filter_ is None or filter_.accepts(publication))
    ]


class ReplayedFrames:
    """The frames of recent replays: clients that return together mostly miss the same publications.

    Cost of a frame: 0.3 µs, where making one takes 1.4 µs.
    """

    __slots__ = ("_bytes", "_frames")

    def __init__(self) -> None:
        # By form and publication, whose identity is sure as long as it is kept here.
        self._frames: dict[tuple[int, int], tuple[WireForm, Publication, bytes]] = {}
        self._bytes = 0

    def __call__(self, form: WireForm, publication: Publication) -> bytes:
        """Return the frame of `publication`. Raises Unencodable."""
        key = (id(form), id(publication))
        found = self._frames.get(key)
        if found is not None:
            return found[2]
        frame = form.frame(publication)
        self._bytes += len(frame)
        if len(self._frames) >= MAX_FRAMES or self._bytes > MAX_FRAME_BYTES:
            self._frames.clear()
            self._bytes = len(frame)
        self._frames[key] = (form, publication, frame)
        return frame


def _frames(session: Session, publications: Sequence[Publication]) -> Iterator[bytes]:
    form, counters, made = session.form, session.services.counters, session.services.replayed_frames
    for publication in publications:
        try:
            frame = made(form, publication)
        except Unencodable:
            counters.dropped["unencodable"] += 1
            continue
        counters.deliveries += 1
        counters.delivered_bytes += len(frame)
        yield frame


def read_history(session: Session, channel: str, command: ReadHistory, request_id: RequestId) -> None:
    """Reply with a page of the history of `channel`, which the client may subscribe to."""
    history = session.services.history
    if history is None:
        raise BadRequest("this server keeps no history: the setting `history` is not set", channel=channel)

    def answer(page: Page | FastWSError) -> None:
        if isinstance(page, FastWSError):
            session.refuse(page, request_id)
        else:
            _send_page(session, HistoryPage(channel, page.publications, page.position), request_id)

    wait_for(
        session,
        lambda receive: history.page(
            channel, command.position, command.limit, is_reverse=command.is_reverse, answer=receive
        ),
        answer,
    )


def _send_page(session: Session, page: HistoryPage, request_id: RequestId) -> None:
    """Send `page` without the publications that the client's codec cannot represent: it was not sent them live."""
    try:
        session.send_reply(page, request_id)
    except Unencodable:
        readable = [publication for publication in page.publications if _is_readable(session, publication)]
        session.services.counters.dropped["unencodable"] += len(page.publications) - len(readable)
        try:
            session.send_reply(HistoryPage(page.channel, readable, page.position), request_id)
        except Unencodable as error:
            session.refuse(error, request_id)


def _is_readable(session: Session, publication: Publication) -> bool:
    try:
        session.services.replayed_frames(session.form, publication)
    except Unencodable:
        return False
    return True
