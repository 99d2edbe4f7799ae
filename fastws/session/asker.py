"""A session as a dialect sees it when it decides a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastws.session.session import Session


class Asker:
    """The connection that has sent a request: vocabulary/commands.Requester."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def id(self) -> str:
        return self._session.peer.id

    @property
    def state(self) -> object:
        return self._session.starting

    @property
    def now(self) -> float:
        return self._session.services.clock()

    def is_subscribed(self, channel: str) -> bool:
        return self._session.services.hub.audience_of(self._session.peer, channel) is not None
