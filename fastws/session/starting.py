"""The start of a connection: joining the channels that its path and its client id imply, and the greeting."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fastws.dialects.dialect import StartingMailbox, Wanted
from fastws.errors import FastWSError
from fastws.session.joining import Joining
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.mailboxes import Mailbox
from fastws.vocabulary.positions import Past
from fastws.vocabulary.replies import Connected, Failure, MailboxStanding, Reply, Standing

if TYPE_CHECKING:
    from fastws.session.session import Session

NOTHING: Final = Wanted()


def join_starting_channels(session: Session) -> None:
    """Join the channels that the client's path implies, send the greeting, then report the channels that failed."""
    starting = session.starting
    if starting.dismissal is not None:
        session.dismiss(starting.dismissal)
        return
    if starting.deadline_seconds:
        session.services.expiry.watch_expiry(session.peer, time.time() + starting.deadline_seconds)
    if isinstance(starting, StartingMailbox):
        _MailboxStart(session, starting.own_mailbox).run()
        return
    if not starting.channels:
        session.send_reply(Connected(session.peer.id, starting.workspace))
        return
    names = list(starting.channels)
    errors: list[FastWSError] = []

    def join_next(standing: Standing | None) -> None:
        if names:
            name, wanted = names.pop(0), starting.wanted or NOTHING
            Joining(session, name, wanted.past, join_next, errors.append, wanted.filter, stays=True).run()
            return
        session.send_reply(Connected(session.peer.id, starting.workspace, standing))
        for error in errors:
            session.refuse(error, None)

    join_next(None)


class _MailboxStart:
    """Joins the channels of the path and the mailbox one after the other, then greets.

    If there are several channels, the broker and the history may answer at different times. Each channel is joined with
    its replay in one step, so that nothing is missed or overtaken, and everything is held until the greeting.
    """

    __slots__ = ("_errors", "_left", "_mailbox", "_session", "_standings")

    def __init__(self, session: Session, mailbox: Mailbox) -> None:
        wanted = session.starting.wanted or NOTHING
        self._session = session
        self._mailbox = mailbox
        self._left: list[tuple[str, Past, Filter | None]] = [
            (mailbox.channel, mailbox.past, None),
            *((name, wanted.past, wanted.filter) for name in reversed(session.starting.channels)),
        ]
        self._standings: dict[str, Standing | None] = {}
        self._errors: list[FastWSError] = []

    def run(self) -> None:
        """Join, now or as the broker and the history answer."""
        self._session.services.roster.give_client_id(self._session.peer.id, self._mailbox.client_id)
        if len(self._left) > 1:
            self._session.uncork_in_turn()
            self._session.peer.hold()
        self._join_next()

    def _join_next(self) -> None:
        if not self._left:
            self._greet()
            return
        name, past, filter_ = self._left.pop()

        def joined(standing: Standing | None) -> None:
            self._standings[name] = standing
            self._join_next()

        Joining(self._session, name, past, joined, self._errors.append, filter_, stays=True).run()

    def _greet(self) -> None:
        """Send the greeting and the errors, before everything that has come meanwhile."""
        session, starting = self._session, self._session.starting
        standing = self._standings.get(starting.channels[-1]) if starting.channels else None
        replies: list[Reply] = [Connected(session.peer.id, starting.workspace, standing, self._mailbox_standing())]
        replies += [Failure(error.code, error.message, error.channel) for error in self._errors]
        if not starting.channels:
            for reply in replies:
                session.send_reply(reply)
            return
        frames = [session.form.reply(reply, starting) for reply in replies]
        session.peer.release([frame for frame in frames if frame is not None])

    def _mailbox_standing(self) -> MailboxStanding | None:
        """Return the place of the client in its mailbox; None if the server had no room for it."""
        channel = self._mailbox.channel
        if self._session.services.hub.audience_of(self._session.peer, channel) is None:
            return None
        return MailboxStanding(channel, self._standings[channel])
