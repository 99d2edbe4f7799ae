"""Suspending a session: while it waits for an answer, the client's further messages are kept in its backlog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from fastws.session.session import Message, Session

T = TypeVar("T")


def wait_for(session: Session, ask: Callable[[Callable[[T], None]], None], then: Callable[[T], None]) -> None:
    """Call `ask` with a callback for its answer, and `then` with that answer.

    If the answer does not arrive before `ask` returns, the session is suspended until it does.
    """
    is_answered = is_suspended = False

    def receive(answer: T) -> None:
        nonlocal is_answered
        is_answered = True
        if is_suspended:
            proceed(session, lambda: then(answer))
        else:
            then(answer)

    ask(receive)
    if not is_answered:
        is_suspended = True
        suspend(session)


def suspend(session: Session) -> None:
    """Stop reading from the client until `proceed` is called."""
    if session.backlog is None:
        session.backlog = []
        session.peer.pause_reading()


def proceed(session: Session, then: Callable[[], None]) -> None:
    """End the suspension: call `then`, and process the backlog afterwards unless `then` suspends the session again."""
    backlog = _take_backlog(session)
    try:
        then()
    finally:
        _go_on(session, backlog)


def _go_on(session: Session, backlog: list[Message] | None) -> None:
    if session.peer.is_gone:
        session.backlog = None
    elif session.backlog is not None:
        session.backlog[:0] = backlog or ()
    elif backlog:
        session.backlog = backlog  # messages that arrive before the next turn are queued behind it
        asyncio.get_running_loop().call_soon(resume, session)
    else:
        session.peer.resume_reading()


def resume(session: Session) -> None:
    """Process the backlog, unless the client has to read its replies first."""
    if session.backlog is not None and session.peer.is_crowded:
        session.is_held = True
        return
    backlog = _take_backlog(session)
    if backlog:
        session.peer.process(backlog)
    if session.backlog is None:
        session.peer.resume_reading()


def _take_backlog(session: Session) -> list[Message] | None:
    backlog, session.backlog = session.backlog, None
    return backlog
