"""Suspended sessions: what waits, in which order it continues, and when reading is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fastws.session.session import Session
from fastws.session.waiting import proceed, suspend, wait_for
from tests.serving import Serve
from tests.transport.pipes import Pipe, connect, say


def ids(pipe: Pipe) -> list[object]:
    """The ids of the replies so far."""
    return [message.get("id") for message in pipe.messages]


async def test_an_immediate_answer_suspends_nothing(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    answers: list[int] = []
    wait_for(connection.session, lambda receive: receive(1), answers.append)
    assert answers == [1]
    assert connection.session.backlog is None
    assert pipe.is_reading


async def test_a_late_answer_comes_before_the_messages_that_waited_for_it(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    session = connection.session
    pending: list[Callable[[int], None]] = []
    happened: list[object] = []

    def answered(answer: int) -> None:
        happened.extend([answer, ids(pipe)])

    wait_for(session, pending.append, answered)
    assert not pipe.is_reading
    say(connection, {"action": "ping", "id": 1}, {"action": "ping", "id": 2})
    assert ids(pipe) == []
    pending[0](7)
    assert happened == [7, []]
    await asyncio.sleep(0)
    assert ids(pipe) == [1, 2]
    assert pipe.is_reading
    assert session.backlog is None


async def test_an_error_in_what_follows_does_not_leave_the_session_suspended(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    pending: list[Callable[[int], None]] = []

    def fail(answer: int) -> None:
        raise ZeroDivisionError

    wait_for(connection.session, pending.append, fail)
    say(connection, {"action": "ping", "id": 1})
    with pytest.raises(ZeroDivisionError):
        pending[0](7)
    await asyncio.sleep(0)
    assert ids(pipe) == [1]
    assert pipe.is_reading


async def test_messages_that_arrive_before_the_backlog_is_processed_come_after_it(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    suspend(connection.session)
    say(connection, {"action": "ping", "id": 1})
    proceed(connection.session, lambda: None)
    say(connection, {"action": "ping", "id": 2})
    await asyncio.sleep(0)
    assert ids(pipe) == [1, 2]


async def test_an_answer_may_suspend_the_session_again(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    session = connection.session
    suspend(session)
    say(connection, {"action": "ping", "id": 1})
    proceed(session, lambda: suspend(session))
    await asyncio.sleep(0)
    assert ids(pipe) == []
    assert waiting(session) == 1
    assert not pipe.is_reading
    proceed(session, lambda: None)
    await asyncio.sleep(0)
    assert ids(pipe) == [1]


async def test_a_client_that_leaves_keeps_no_backlog(serve: Serve) -> None:
    _, connection = connect(await serve())
    session = connection.session
    suspend(session)
    say(connection, {"action": "ping"})
    proceed(session, lambda: connection.end(1000, "", label="test"))
    assert session.backlog is None


def waiting(session: Session) -> int:
    return len(session.backlog or ())
