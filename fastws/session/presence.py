"""Questions of clients for the presence of a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.errors import BadRequest, FastWSError
from fastws.session.waiting import wait_for
from fastws.vocabulary.commands import ReadPresence, RequestId
from fastws.vocabulary.presence import PresencePage

if TYPE_CHECKING:
    from fastws.session.session import Session


def read_presence(session: Session, channel: str, command: ReadPresence, request_id: RequestId) -> None:
    """Reply with the members of `channel`, which the client may subscribe to."""
    presence = session.services.hub.presence
    if presence is None:
        raise BadRequest("this server keeps no presence: the setting `presence` is not set", channel=channel)

    def answer(page: PresencePage | FastWSError) -> None:
        if isinstance(page, FastWSError):
            session.refuse(page, request_id)
        else:
            try:
                session.send_reply(page, request_id)
            except FastWSError as error:
                session.refuse(error, request_id)

    wait_for(session, lambda receive: presence.page(channel, command.limit, command.cursor, receive), answer)
