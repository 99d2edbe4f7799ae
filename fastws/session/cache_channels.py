"""Cache channels: a new subscriber gets the last event of the channel, or a notice that there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.errors import FastWSError, Unencodable
from fastws.vocabulary.positions import Position, Recovery
from fastws.vocabulary.replies import CacheMiss

if TYPE_CHECKING:
    from fastws.session.session import Session


def show_cached(session: Session, channel: str, recovery: Recovery, seconds: float) -> None:
    """Send the last event of `channel` to a client that has just joined, unless it is older than `seconds`.

    While the history cannot be read, nothing is sent: see `show_late`.
    """
    if recovery.position is None:
        return
    counters = session.services.counters
    frame = None
    if recovery.publications and recovery.age_seconds < seconds:
        try:
            frame = session.services.replayed_frames(session.form, recovery.publications[-1])
        except Unencodable:
            counters.dropped["unencodable"] += 1
    if frame is not None:
        counters.deliveries += 1
        counters.delivered_bytes += len(frame)
        counters.replayed_messages += 1
        session.replay(iter((frame,)), channel)
        return
    session.send_reply(CacheMiss(channel))
    if session.services.reports is not None:
        session.services.reports.cache_miss(channel)


def show_late(session: Session, channel: str, joined_at: Position, seconds: float) -> None:
    """Do the same for a client that has joined while the history could not be read.

    `joined_at` is the position after which it has got all publications.
    """
    history = session.services.history
    if history is None:
        return

    def found(recovery: Recovery | FastWSError) -> None:
        if isinstance(recovery, FastWSError) or session.peer.is_gone or recovery.position is None:
            return
        is_new = recovery.position.epoch != joined_at.epoch or recovery.position.offset > joined_at.offset
        if not is_new and session.services.hub.audience_of(session.peer, channel) is not None:
            show_cached(session, channel, recovery, seconds)

    history.recover(channel, 1, found, lambda position: show_late(session, channel, position, seconds))
