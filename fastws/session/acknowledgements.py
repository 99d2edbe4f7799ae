"""Replies to sends, given when it is known how the send ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.errors import FastWSError
from fastws.session.services import ACK_CACHE_SIZE
from fastws.vocabulary.replies import Sent

if TYPE_CHECKING:
    from fastws.session.session import RequestId, Session


class Acknowledgement:
    """The receipt of a send to a channel."""

    __slots__ = ("channel", "request_id", "session")

    def __init__(self, session: Session, channel: str, request_id: RequestId) -> None:
        self.session = session
        self.channel = channel
        self.request_id = request_id

    def done(self, sent: int, failed: int) -> None:
        """Answer. Cost: 0.4 µs where an answer like it was given before."""
        acknowledge(self.session, self.channel, None, sent, failed, self.request_id)

    def refused(self, error: FastWSError) -> None:
        error.channel = error.channel or self.channel
        self.session.refuse(error, self.request_id)


class DirectAcknowledgement:
    """The receipt of a send to a connection of another process."""

    __slots__ = ("connection_id", "request_id", "session")

    def __init__(self, session: Session, connection_id: str, request_id: RequestId) -> None:
        self.session = session
        self.connection_id = connection_id
        self.request_id = request_id

    def done(self, sent: int, failed: int) -> None:
        """Answer; a connection that is gone is a failure (spec 3.1)."""
        acknowledge(self.session, None, self.connection_id, sent, failed or int(not sent), self.request_id)

    def refused(self, error: FastWSError) -> None:
        self.session.refuse(error, self.request_id)


def acknowledge(
    session: Session,
    channel: str | None,
    connection_id: str | None,
    sent: int,
    failed: int,
    request_id: RequestId,
) -> None:
    """Say how a send ended. Most of a burst end alike: what was said of one is said of the others.

    A request with an `id` costs 0.7 µs more than one without: its reply is its own.
    """
    acks, form = session.services.acks, session.form
    key = (form, channel, connection_id, sent, failed)
    known = acks.get(key)
    if known is None:
        if len(acks) >= ACK_CACHE_SIZE:
            acks.clear()
        message = form.dialect.reply(Sent(channel, connection_id, sent, failed), session.starting)
        if message is None:
            return
        acks[key] = known = (form.plain(message), message)
    session.write_reply_frame(known[0] if request_id is None else form.plain({**known[1], "id": request_id}))
