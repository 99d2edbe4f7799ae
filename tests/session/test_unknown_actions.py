"""Messages with an unknown action: to the application if there is a hook, and an error otherwise."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator

import pytest

from fastws.callouts.backlog import MAX_MESSAGES_OF_ONE
from fastws.server.server import Server
from fastws.transport.websocket import Connection
from fastws.wire.opcodes import BINARY
from tests.serving import Serve
from tests.session.late_broker import until
from tests.transport.pipes import Pipe, connect, open_pipe, say

HOOK = "an_application_with_events:handle"
MESSAGE = {"action": "paint", "colour": "red", "id": 4}


class Application:
    """An event hook whose answers wait until `may_answer` is set."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.answer: object = None
        self.may_answer = asyncio.Event()

    async def handle(self, event: dict[str, dict[str, str]], context: object) -> object:
        if event["requestContext"]["routeKey"] != "$default":
            return None
        self.bodies.append(str(event["body"]))
        await self.may_answer.wait()
        return self.answer


@pytest.fixture
def application() -> Iterator[Application]:
    module = types.ModuleType(HOOK.partition(":")[0])
    handler = Application()
    module.handle = handler.handle  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield handler
    del sys.modules[module.__name__]


async def connect_to(server: Server, target: str = "/") -> tuple[Pipe, Connection]:
    """Connect a client, which takes several turns of the loop because the application is asked."""
    pipe = open_pipe(server, target)
    await until(lambda: isinstance(pipe.protocol, Connection))
    return pipe, pipe.protocol


async def test_without_a_hook_it_is_an_error(serve: Serve) -> None:
    pipe, connection = connect(await serve())
    say(connection, MESSAGE)
    [error] = pipe.messages
    assert (error["type"], error["code"], error["id"]) == ("error", "bad_request", 4)
    assert error["message"].startswith("unknown action 'paint': one of ")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"body": '{"painted":true}'}, {"painted": True}),
        ({"statusCode": 200}, None),
        ({"body": {}}, {"type": "error", "code": "internal", "message": "the application did not answer", "id": 4}),
    ],
    ids=["body", "no body", "invalid"],
)
async def test_the_answer_of_the_application_is_the_reply(
    serve: Serve, application: Application, answer: object, message: dict[str, object] | None
) -> None:
    server = await serve(event_hook=HOOK)
    pipe, connection = await connect_to(server)
    application.answer = answer
    application.may_answer.set()
    say(connection, MESSAGE)
    await until(lambda: sum(server.counters.hook_calls.values()) == 2)
    assert pipe.messages == ([] if message is None else [message])


async def test_the_session_does_not_wait_for_the_application(serve: Serve, application: Application) -> None:
    pipe, connection = await connect_to(await serve(event_hook=HOOK))
    say(connection, MESSAGE, {"action": "ping", "id": 5})
    assert [message["id"] for message in pipe.messages] == [5]
    assert pipe.is_reading


async def test_a_flood_is_refused_with_the_id_of_each_message(serve: Serve, application: Application) -> None:
    server = await serve(event_hook=HOOK)
    pipe, connection = await connect_to(server)
    for number in range(MAX_MESSAGES_OF_ONE + 2):
        say(connection, {**MESSAGE, "id": number})
    assert [(message["code"], message["id"]) for message in pipe.messages] == [
        ("rate_limited", MAX_MESSAGES_OF_ONE),
        ("rate_limited", MAX_MESSAGES_OF_ONE + 1),
    ]
    assert server.counters.hook_calls["$default", "dropped"] == 2


async def test_a_client_that_has_left_gets_nothing(serve: Serve, application: Application) -> None:
    server = await serve(event_hook=HOOK)
    pipe, connection = await connect_to(server)
    say(connection, MESSAGE)
    await until(lambda: application.bodies)
    connection.end(1000, "", label="test")
    application.answer = {"body": "{}"}
    application.may_answer.set()
    await until(lambda: server.counters.hook_calls["$default", "done"])
    assert pipe.events == [1000]


@pytest.mark.parametrize("body", ["1e999", "[" * 2000 + "]" * 2000])
async def test_what_msgpack_cannot_carry_as_data_goes_back_as_text(
    serve: Serve, application: Application, body: str
) -> None:
    pipe, connection = await connect_to(await serve(event_hook=HOOK), "/?format=msgpack")
    written = len(pipe.writes)
    application.answer = {"body": body}
    application.may_answer.set()
    connection.session.receive([(BINARY, b"\x82\xa6action\xa5paint\xa2id\x04")])
    await until(lambda: len(pipe.writes) > written)
    assert application.bodies == ['{"action":"paint","id":4}']
    assert pipe.writes[written].endswith(body.encode())
