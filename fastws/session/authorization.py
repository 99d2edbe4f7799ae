"""May this client do that? At once by its token, or by asking an application's authorizer while nothing is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from fastws.callouts.authorizer import Authorizer
from fastws.errors import FastWSError, Forbidden

if TYPE_CHECKING:
    from fastws.session.session import RequestId, Session

Action = Literal["subscribe", "publish"]


def authorize(session: Session, action: Action, channel: str, then: Callable[[], None], request_id: RequestId) -> None:
    """Call `then` if this client may do `action` on `channel`, now or when the authorizer has answered.

    Raises Forbidden, or answers so later.
    """
    services = session.services
    authorizer, permissions = services.authorizer, services.permissions
    if authorizer is None:
        check = permissions.may_subscribe if action == "subscribe" else permissions.may_publish
        allowed: bool | None = check(
            session.identity, channel, dialect=session.form.dialect.name, anonymous_allowed=session.anonymous_allowed
        )
    elif action == "publish" and permissions.is_backend_only(channel):
        allowed = False
    else:
        allowed = authorizer.known(session.identity, action, channel)
    if allowed is None and authorizer is not None:
        session.suspend()
        services.heartbeat.spawn(_ask_elsewhere(session, authorizer, action, channel, then, request_id))
    elif allowed:
        then()
    else:
        raise _refusal(action, channel)


async def _ask_elsewhere(
    session: Session,
    authorizer: Authorizer,
    action: Action,
    channel: str,
    then: Callable[[], None],
    request_id: RequestId,
) -> None:
    allowed = await authorizer.allows(session.identity, action, channel)
    if session.connection.is_gone:
        return

    def answer() -> None:
        try:
            if not allowed:
                raise _refusal(action, channel)
            then()
        except FastWSError as error:
            session.refuse(error, request_id)

    session.proceed(answer)


async def leave_forbidden_channels(session: Session, authorizer: Authorizer, leave: Callable[[str], None]) -> None:
    """Ask again for every channel this client is in; `leave` those that are refused now."""
    for name in session.connection.channel_names:
        if not await authorizer.allows(session.identity, "subscribe", name) and not session.connection.is_gone:
            leave(name)


def _refusal(action: Action, channel: str) -> Forbidden:
    return Forbidden(f"not allowed to {action} to this channel", channel=channel)
