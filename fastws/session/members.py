"""Joining a channel with members: the client gets a list of the users, and the others get a notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.errors import FastWSError
from fastws.session.joining import Joining, check_number, refuse_join
from fastws.session.waiting import wait_for
from fastws.vocabulary.commands import RequestId
from fastws.vocabulary.presence import Membership
from fastws.vocabulary.replies import Subscribed

if TYPE_CHECKING:
    from fastws.session.session import Session


def join_as_member(
    session: Session, name: str, member: Membership, cached_seconds: float | None, request_id: RequestId
) -> None:
    """Join `name` once the members on all processes are known. Raises TooManyChannels."""
    check_number(session, name)
    members = session.services.members

    def joined(_: object) -> None:
        session.send_reply(Subscribed(name, None, members.of(name)), request_id)

    def refused(error: FastWSError) -> None:
        refuse_join(session, name, error, request_id)

    def opened(error: FastWSError | None) -> None:
        if session.peer.is_gone:
            return
        if error is not None:
            refused(error)
        else:
            Joining(session, name, None, joined, refused, member=member, cached_seconds=cached_seconds).run()

    wait_for(session, lambda answer: members.open(name, answer), opened)
