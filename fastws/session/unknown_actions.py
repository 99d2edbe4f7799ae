"""Messages with an action that no dialect knows: they go to the application's event hook, if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.errors import FastWSError, RateLimited, UnknownAction
from fastws.vocabulary.commands import RequestId

if TYPE_CHECKING:
    from fastws.session.session import Session


def ask_application(session: Session, error: UnknownAction, payload: object, request_id: RequestId) -> None:
    """Pass the message to the event hook and send its reply to the client; without a hook, refuse with `error`."""
    hook = session.services.hook
    if hook is None or not isinstance(payload, bytes):
        session.refuse(error, request_id)
        return
    try:
        hook.default(
            session.peer.id,
            len(payload),
            lambda: session.form.as_text(payload),
            lambda answer: _relay(session, answer, request_id),
        )
    except RateLimited as too_many:
        session.refuse(too_many, request_id)


def _relay(session: Session, answer: str | bytes | FastWSError, request_id: RequestId) -> None:
    """Send the application's reply to the client."""
    if session.peer.is_gone:
        return
    if isinstance(answer, FastWSError):
        session.refuse(answer, request_id)
        return
    try:
        frame = session.form.verbatim(session.form.from_text(answer))
    except (FastWSError, ValueError):
        session.refuse(FastWSError("the application's reply cannot be sent"), request_id)
        raise
    session.write_reply_frame(frame)
