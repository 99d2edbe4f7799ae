"""Upgrades: an HTTP connection becomes a WebSocket connection once the gate and the event hook have admitted it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from fastws.admission.admission import Admission
from fastws.callouts.event_hook import EventHook
from fastws.errors import FastWSError
from fastws.wire.http_reader import Request

if TYPE_CHECKING:
    from fastws.transport.http import HttpConnection

log = structlog.stdlib.get_logger("fastws.http")


def upgrade(connection: HttpConnection, request: Request) -> None:
    """Answer an upgrade request. Raises the FastWSError that refuses it, or sends it later if there is a wait."""
    if connection.gate.may_admit(request):
        _admit(connection, request)
        return
    connection.is_answering = True
    connection.transport.pause_reading()
    connection.spawn(_refuse_on_error(connection, lambda: _admit_in_turn(connection, request)))


async def _refuse_on_error(connection: HttpConnection, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`; answer the client with the error that it raises."""
    try:
        await work()
    except FastWSError as error:
        connection.refuse(error)
    except Exception:
        log.exception("internal error", address=connection.address)
        connection.refuse(FastWSError("internal error"))


async def _admit_in_turn(connection: HttpConnection, request: Request) -> None:
    """Admit the client when its token may be verified."""
    await connection.gate.admission_turn(request)
    if connection.has_ended():
        connection.transport.close()
        return
    connection.transport.resume_reading()
    _admit(connection, request)


def _admit(connection: HttpConnection, request: Request) -> None:
    admission = connection.gate.admit(request, connection.address)
    hook = connection.services.lifecycle.hook
    connection.is_answering = True  # further bytes belong to the WebSocket connection
    if hook is None:
        _open(connection, admission)
    else:
        connection.transport.pause_reading()
        connection.spawn(_refuse_on_error(connection, lambda: _open_if_agreed(connection, admission, hook)))


async def _open_if_agreed(connection: HttpConnection, admission: Admission, hook: EventHook) -> None:
    """Open the connection if the application's event hook agrees."""
    is_open = False
    try:
        await connection.gate.ask_application(admission, hook)
        if connection.has_ended():
            connection.transport.close()
            return
        connection.transport.resume_reading()
        _open(connection, admission)
        is_open = True
    finally:
        if not is_open:
            hook.disconnected(admission.connection_id, 1006, "never opened")


def _open(connection: HttpConnection, admission: Admission) -> None:
    try:
        opened = connection.opening.open(admission, connection.transport)
    except BaseException:
        connection.transport.set_protocol(connection)  # to answer, and to stop counting when the socket is closed
        raise
    connection.leave()
    rest = connection.reader.trailing()
    if rest:
        opened.data_received(rest)
