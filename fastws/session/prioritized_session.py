"""A session on a server with priorities: its replies keep their place among the publications of their channel."""

from __future__ import annotations

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.wire_form import DialectForm
from fastws.session.ports import Peer
from fastws.session.services import Services
from fastws.session.session import Session
from fastws.vocabulary.commands import RequestId
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.replies import Connected, Reply


class ChannelReply(bytes):
    """A frame about `channel`, which must not change its place among the publications of this channel."""

    channel: str


class OpeningFrame(bytes):
    """A frame that must come before everything else: the response to the upgrade, or the greeting."""


class PrioritizedSession(Session):
    """Marks replies for the lanes of a PriorityOutbox. As long as the socket is writable, they are written at once."""

    __slots__ = ("is_opened",)

    def __init__(
        self,
        services: Services,
        peer: Peer,
        form: DialectForm,
        identity: Identity | None,
        starting: StartingChannels,
    ) -> None:
        super().__init__(services, peer, form, identity, starting)
        # Whether the response to the upgrade has been written.
        self.is_opened = False

    def send_reply(self, reply: Reply, request_id: RequestId = None) -> None:
        """Send `reply`, marked as the greeting or with its channel: its field, or else the home channel."""
        frame = self.form.reply(reply, self.starting, request_id)
        if frame is None:
            return
        if isinstance(reply, Connected):
            self.write_reply_frame(OpeningFrame(frame))
        else:
            self.write_reply_frame(frame, getattr(reply, "channel", self.starting.home))

    def write_reply_frame(self, frame: bytes, channel: str | None = None) -> None:
        """Write a frame, together with the other replies of this turn."""
        if channel is not None:
            frame = ChannelReply(frame)
            frame.channel = channel
        super().write_reply_frame(frame)

    def uncork(self) -> None:
        """Write the replies of this turn: one by one to an outbox, where each has its lane."""
        cork = self.cork
        if cork and not self.is_opened:
            self.is_opened = True
            self.cork = cork = [OpeningFrame(frame) for frame in cork]
        if not cork or self.peer.is_writable:
            super().uncork()
            return
        self.cork = None
        self.corked_bytes = 0
        for frame in cork:
            self.peer.write_control(frame)
