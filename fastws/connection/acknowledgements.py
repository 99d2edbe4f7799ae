"""Replies to sends, given when it is known how the send ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.connection.context import ACK_CACHE_SIZE
from fastws.errors import FastWSError
from fastws.vocabulary.replies import Sent

if TYPE_CHECKING:
    from fastws.connection.session import RequestId, Session


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
    """Say how a send ended. Most of a burst end alike: the same bytes answer those without a request id."""
    if request_id is not None:
        session.say(Sent(channel, connection_id, sent, failed), request_id)
        return
    acks = session.context.acks
    key = (session.form, channel, connection_id, sent, failed)
    frame = acks.get(key)
    if frame is None:
        if len(acks) >= ACK_CACHE_SIZE:
            acks.clear()
        frame = session.form.reply(Sent(channel, connection_id, sent, failed), session.place) or b""
        acks[key] = frame
    session.put(frame)
