"""Joining channels: a client becomes a member once the broker receives the channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fastws.errors import FastWSError, TooManyChannels
from fastws.session.waiting import wait_for
from fastws.vocabulary.replies import Connected

if TYPE_CHECKING:
    from fastws.session.session import Session

_TOO_MANY: Final = "the server has reached its maximum number of channels; subscribe to an existing one"

OnError = Callable[[FastWSError], None]


def join_starting_channels(session: Session) -> None:
    """Join the channels that the client's path implies, send the greeting, then report the channels that failed."""
    names = list(session.starting.channels)
    if not names:
        session.send_reply(Connected(session.peer.id, session.starting.workspace))
        return
    errors: list[FastWSError] = []

    def join_next() -> None:
        if names:
            join(session, names.pop(0), join_next, errors.append, stays=True)
            return
        session.send_reply(Connected(session.peer.id, session.starting.workspace))
        for error in errors:
            session.refuse(error, None)

    join_next()


def join(session: Session, name: str, joined: Callable[[], None], refused: OnError, *, stays: bool = False) -> None:
    """Make the client a member of `name`, then call `joined`.

    Happens immediately, or when the broker confirms that it receives the channel; the session is suspended until then.
    If the broker cannot receive the channel, calls `refused`. With `stays` the client becomes a member even then, and
    gets publications as soon as the broker receives them. If the server has `max_channels`, calls `refused`, too, and
    with `stays` also `joined`, though the client does not become a member.
    """
    services = session.services
    hub, broker, pending = services.hub, services.broker, services.pending_channels

    def finish(error: FastWSError | None) -> None:
        if error is not None:
            refused(error)
        if error is None or stays:
            _enter(session, name, joined)
        elif not hub.count(name):
            broker.unlisten(name)

    def answered(error: FastWSError | None) -> None:
        pending[name] -= 1
        if not pending[name]:
            del pending[name]
        finish(error)

    if hub.count(name):
        finish(broker.refusal(name))
    elif name not in pending and len(hub.channels) + len(pending) >= services.config.max_channels:
        refused(TooManyChannels(_TOO_MANY, channel=name))
        if stays:
            joined()
    else:
        pending[name] = pending.get(name, 0) + 1
        wait_for(session, lambda answer: broker.listen(name, lambda: answer(None), answer), answered)


def _enter(session: Session, name: str, joined: Callable[[], None]) -> None:
    hub = session.services.hub
    if session.flush_before_reply(name):
        hub.subscribe(session.peer, name, session.form)
        joined()
    elif not hub.count(name):
        session.services.broker.unlisten(name)
