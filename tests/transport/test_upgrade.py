"""Upgrades: what happens while a client waits for its token to be verified, or for the application."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator

import pytest

from fastws.server.server import Server
from fastws.session.verifications import OPERATIONS_PER_TURN
from fastws.transport.websocket import Connection
from tests.admission.test_capacity import Client
from tests.serving import Serve
from tests.session.late_broker import until
from tests.session.test_verifications import PEM, token
from tests.transport.pipes import Pipe, frames, open_pipe

HOOK = "an_application_that_is_asked:handle"


class Application:
    """An event hook whose answer to $connect waits until `may_answer` is set. `ended` are the $disconnect codes."""

    def __init__(self) -> None:
        self.answer: object = None
        self.asked = 0
        self.ended: list[object] = []
        self.may_answer = asyncio.Event()

    async def handle(self, event: dict[str, dict[str, object]], context: object) -> object:
        route = event["requestContext"]["routeKey"]
        if route == "$connect":
            self.asked += 1
            await self.may_answer.wait()
            return self.answer
        if route == "$disconnect":
            self.ended.append(event["requestContext"]["disconnectStatusCode"])
        return None


@pytest.fixture
def application() -> Iterator[Application]:
    module = types.ModuleType(HOOK.partition(":")[0])
    handler = Application()
    module.handle = handler.handle  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield handler
    del sys.modules[module.__name__]


def status_of(pipe: Pipe) -> bytes:
    return bytes(pipe.taken[9:12])


def sockets_and_connections(server: Server) -> tuple[int, int]:
    return server.gate.capacity.sockets, server.gate.open_connections


async def test_frames_that_arrive_while_the_application_is_asked_are_read_afterwards(
    serve: Serve, application: Application
) -> None:
    server = await serve(event_hook=HOOK)
    pipe = open_pipe(server)
    await until(lambda: application.asked)
    assert (pipe.writes, pipe.is_reading) == ([], False)
    pipe.protocol.data_received(frames({"action": "ping"}))
    application.may_answer.set()
    await until(lambda: pipe.messages)
    assert pipe.events == ["pong"]
    assert pipe.is_reading
    assert sockets_and_connections(server) == (0, 1)
    pipe.protocol.end(1000, "", label="test")
    await until(lambda: application.ended)
    assert application.ended == [1000]


async def test_a_client_that_the_application_refuses_gets_403_and_no_disconnect(
    serve: Serve, application: Application
) -> None:
    server = await serve(event_hook=HOOK)
    pipe = open_pipe(server)
    application.answer = {"statusCode": 403}
    application.may_answer.set()
    await until(lambda: pipe.writes)
    assert status_of(pipe) == b"403"
    pipe.protocol.connection_lost(None)
    assert sockets_and_connections(server) == (0, 0)
    await server.assembly.event_hook.close()  # type: ignore[union-attr] # the setting is given
    assert application.ended == []


async def test_a_client_that_leaves_while_the_application_is_asked_is_disconnected_there(
    serve: Serve, application: Application
) -> None:
    server = await serve(event_hook=HOOK)
    pipe = open_pipe(server)
    await until(lambda: application.asked)
    pipe.close()
    pipe.protocol.connection_lost(None)
    application.may_answer.set()
    await until(lambda: application.ended)
    assert application.ended == [1006]
    assert sockets_and_connections(server) == (0, 0)
    assert len(server.roster) == 0


async def test_a_server_that_fills_up_meanwhile_refuses_and_says_so_to_the_application(
    serve: Serve, application: Application
) -> None:
    server = await serve(event_hook=HOOK, max_connections=1)
    pipe = open_pipe(server)
    await until(lambda: application.asked)
    other = Client()
    server.gate.capacity.enter(other, None, "192.0.2.1")
    application.may_answer.set()
    await until(lambda: pipe.writes and application.ended)
    assert status_of(pipe) == b"503"
    assert application.ended == [1006]
    server.gate.capacity.leave(other, None, "192.0.2.1")


async def test_an_unexpected_error_while_a_client_is_opened_is_a_500_without_internals(
    serve: Serve, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(event_hook=HOOK)

    def fail(*_: object) -> None:
        raise RuntimeError("internals")

    monkeypatch.setattr("fastws.transport.opening.Opening.open", fail)
    application.may_answer.set()
    pipe = open_pipe(server)
    await until(lambda: pipe.writes and application.ended)
    assert status_of(pipe) == b"500"
    assert b"internals" not in pipe.taken
    assert application.ended == [1006]


async def test_a_token_waits_for_its_turn_and_is_then_admitted_or_refused(serve: Serve) -> None:
    server = await serve(jwt_public_key=PEM)
    good = token()
    bad = f"{good[:-8]}AAAAAAAA"
    early = [open_pipe(server, f"/?token={good}") for _ in range(OPERATIONS_PER_TURN)]
    late = [open_pipe(server, f"/?token={token}") for token in (good, bad)]
    assert all(isinstance(pipe.protocol, Connection) for pipe in early)
    assert [(pipe.writes, pipe.is_reading) for pipe in late] == [([], False)] * 2
    await until(lambda: all(pipe.writes for pipe in late))
    assert [status_of(pipe) for pipe in late] == [b"101", b"401"]
    assert late[0].is_reading


async def test_a_client_that_leaves_before_its_turn_is_not_admitted(serve: Serve) -> None:
    server = await serve(jwt_public_key=PEM)
    good = token()
    *_, leaving, following = [open_pipe(server, f"/?token={good}") for _ in range(OPERATIONS_PER_TURN + 2)]
    leaving.close()
    leaving.protocol.connection_lost(None)
    await until(lambda: following.writes)
    assert leaving.writes == []
    assert len(server.roster) == OPERATIONS_PER_TURN + 1
    assert server.counters.refused == {}
