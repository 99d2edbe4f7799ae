"""Authorization: decides by the client's token, or asks the application's authorizer while the session waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from fastws.callouts.authorizer import Authorizer
from fastws.errors import FastWSError, Forbidden
from fastws.session.waiting import proceed, suspend
from fastws.vocabulary.commands import RequestId
from fastws.vocabulary.mailboxes import is_mailbox

if TYPE_CHECKING:
    from fastws.session.session import Session

Action = Literal["subscribe", "publish"]


def authorize(session: Session, action: Action, channel: str, then: Callable[[], None], request_id: RequestId) -> None:
    """Call `then` if the client may do `action` on `channel`, immediately or when the authorizer has answered.

    Otherwise raises Forbidden, or sends it as the reply if the authorizer has to be asked.
    """
    services = session.services
    authorizer, permissions = services.authorizer, services.permissions
    if action == "subscribe" and is_mailbox(channel):
        # Whatever a token or an authorizer says: a client joins its own mailbox, and no other.
        allowed: bool | None = owns(session, channel)
    elif authorizer is None:
        check = permissions.may_subscribe if action == "subscribe" else permissions.may_publish
        allowed = check(
            session.identity,
            channel,
            needs_token=session.form.dialect.needs_token,
            anonymous_allowed=session.anonymous_allowed,
        )
    elif action == "publish" and permissions.is_backend_only(channel):
        allowed = False
    else:
        allowed = authorizer.known(session.identity, action, channel)
    if allowed is None and authorizer is not None:
        suspend(session)
        services.spawn(_ask_authorizer(session, authorizer, action, channel, then, request_id))
    elif allowed:
        then()
    else:
        raise _refusal(action, channel)


def owns(session: Session, channel: str) -> bool:
    """Whether `channel` is the mailbox of the client."""
    mailbox = session.starting.mailbox
    return mailbox is not None and mailbox.channel == channel


async def _ask_authorizer(
    session: Session,
    authorizer: Authorizer,
    action: Action,
    channel: str,
    then: Callable[[], None],
    request_id: RequestId,
) -> None:
    allowed = await authorizer.allows(session.identity, action, channel)
    if session.peer.is_gone:
        return

    def answer() -> None:
        try:
            if not allowed:
                raise _refusal(action, channel)
            then()
        except FastWSError as error:
            session.refuse(error, request_id)

    proceed(session, answer)


async def leave_forbidden_channels(session: Session, authorizer: Authorizer, leave: Callable[[str], None]) -> None:
    """Ask the authorizer again about every channel of the client; call `leave` for those that it now refuses."""
    for name in session.peer.channel_names:
        if owns(session, name):
            continue
        if not await authorizer.allows(session.identity, "subscribe", name) and not session.peer.is_gone:
            leave(name)


def _refusal(action: Action, channel: str) -> Forbidden:
    return Forbidden(f"not allowed to {action} to this channel", channel=channel)
