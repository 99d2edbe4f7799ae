"""A session whose answers come late: from the broker, from an authorizer, from both; and what it says meanwhile."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from fastws.config import Config
from tests.serving import KEY, SECRET, Join, Talker
from tests.session.late_broker import LateServer

ServeLate = Callable[..., Awaitable[LateServer]]
PATIENCE_SECONDS = 10


@pytest_asyncio.fixture
async def serve_late() -> AsyncIterator[ServeLate]:
    """Starts servers whose broker answers when the test says so."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> LateServer:
            config = Config(port=0, jwt_secret=SECRET, broadcast_key=(KEY,), **settings)
            return await stack.enter_async_context(LateServer(config))

        yield start


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0)


async def heard_in_order(client: Talker, count: int) -> list[object]:
    """The ids of the next replies."""
    return [(await client.hear()).get("id") for _ in range(count)]


async def test_a_subscription_is_confirmed_when_the_broker_hears_and_nothing_overtakes_it(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    client, other = await join(server), await join(server)
    await client.say({"action": "subscribe", "channel": "a", "id": 1})
    for number in range(2, 2000):
        await client.say({"action": "ping", "id": number})
    await until(lambda: server.late_broker.waiting)
    await other.hears_nothing()
    server.late_broker.confirm("a")
    assert await heard_in_order(client, 1999) == list(range(1, 2000))


async def test_two_that_wait_for_the_same_channel_both_hear_it(serve_late: ServeLate, join: Join) -> None:
    server = await serve_late()
    clients = [await join(server) for _ in range(2)]
    for client in clients:
        await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: len(server.late_broker.waiting.get("a", ())) == 2)
    server.late_broker.confirm("a")
    for client in clients:
        assert (await client.hear())["type"] == "subscription_succeeded"
    assert (await clients[0].ask({"action": "send", "channel": "a", "event": "e"}))["event"] == "e"
    assert (await clients[1].hear())["event"] == "e"


async def test_who_leaves_while_it_waits_is_not_subscribed_and_the_broker_is_told(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    client = await join(server)
    await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: server.late_broker.waiting)
    server.roster.clients[client.id].end(1000, "", label="test")
    assert (await client.end())[0] == 1000
    server.late_broker.confirm("a")
    assert server.late_broker.unlistened == ["a"]
    assert server.hub.channels == {}


async def test_who_waits_can_be_closed_at_once(serve_late: ServeLate, join: Join) -> None:
    """Its reading is paused, and yet its answer to our close is read: nobody waits for a deadline."""
    server = await serve_late()
    client = await join(server)
    await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: server.late_broker.waiting)
    server.roster.clients[client.id].end(1012, "restart", label="test")
    assert await client.end() == (1012, "restart")
    async with asyncio.timeout(1):
        await server.gate.until_empty()


async def test_a_room_client_is_greeted_when_its_own_room_is_heard(serve_late: ServeLate, join: Join) -> None:
    server = await serve_late()
    client = await join(server, "/api/v1/ws", token=server.tokens.sign("u1"), greets=False)
    await client.say({"type": "ping", "id": "early"})
    await until(lambda: server.late_broker.waiting)
    server.late_broker.confirm("user:u1")
    assert (await client.hear())["event"] == "connected"
    assert (await client.hear())["id"] == "early"


async def test_a_publication_that_the_broker_does_not_take_is_an_error_with_its_id(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    client = await join(server)
    server.late_broker.is_away = True
    assert await client.ask({"action": "send", "channel": "a", "event": "e", "id": "x"}) == {
        "type": "error",
        "code": "broker_unavailable",
        "message": "Redis is away",
        "channel": "a",
        "id": "x",
    }


class Application:
    """An authorizer that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str, str]] = []
        self.answers: dict[str, bool] = {}
        self.may_answer = asyncio.Event()

    async def decide(self, user: str | None, action: str, channel: str, claims: object) -> bool:
        self.asked.append((user, action, channel))
        await self.may_answer.wait()
        return self.answers.get(channel, True)


@pytest.fixture
def application() -> Iterator[Application]:
    module = types.ModuleType("an_application_that_decides")
    decider = Application()
    module.decide = decider.decide  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield decider
    del sys.modules[module.__name__]


AUTHORIZER = "an_application_that_decides:decide"


async def test_while_an_authorizer_is_asked_nothing_of_that_client_is_done_and_others_go_on(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client, other = await join(server), await join(server)
    application.answers["closed"] = False
    await client.say({"action": "send", "channel": "open", "event": "e", "id": 1})
    await client.say({"action": "send", "channel": "closed", "event": "e", "id": 2})
    await client.say({"action": "ping", "id": 3})
    await until(lambda: application.asked)
    await other.hears_nothing()
    assert application.asked == [(None, "publish", "open")]
    application.may_answer.set()
    replies = [await client.hear() for _ in range(3)]
    assert [reply["id"] for reply in replies] == [1, 2, 3]
    assert replies[0]["type"] == "send_success"
    assert (replies[1]["type"], replies[1]["code"], replies[1]["channel"]) == ("error", "forbidden", "closed")
    assert replies[2]["type"] == "pong"


async def test_a_wait_for_the_authorizer_and_then_for_the_broker_is_one_wait(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client = await join(server)
    for number in range(1, 4):
        await client.say(
            {"action": "ping", "id": number} if number > 1 else {"action": "subscribe", "channel": "a", "id": 1}
        )
    await until(lambda: application.asked)
    application.may_answer.set()
    await until(lambda: server.late_broker.waiting)
    await client.say({"action": "ping", "id": 4})
    server.late_broker.confirm("a")
    assert await heard_in_order(client, 4) == [1, 2, 3, 4]


async def test_an_answer_is_asked_once_for_a_while(serve_late: ServeLate, join: Join, application: Application) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    application.may_answer.set()
    client = await join(server)
    for _ in range(3):
        assert (await client.ask({"action": "send", "channel": "a", "event": "e"}))["type"] == "send_success"
    assert application.asked == [(None, "publish", "a")]


async def test_who_leaves_while_an_authorizer_is_asked_leaves_nothing_behind(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client = await join(server)
    await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: application.asked)
    server.roster.clients[client.id].end(1000, "", label="test")
    await client.end()
    application.may_answer.set()
    await server.heartbeat.until_done()
    assert server.late_broker.waiting == {}
    assert server.hub.channels == {}


async def test_nobody_but_backends_may_send_to_the_jobs_feed_whatever_an_authorizer_says(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client = await join(server)
    reply = await client.ask({"action": "send", "channel": "botrix:jobs:updates", "event": "e"})
    assert (reply["type"], reply["code"]) == ("error", "forbidden")
    assert application.asked == []
