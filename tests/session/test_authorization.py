"""Authorization: by the token at once, by the application when it answers."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator

import pytest

from fastws.errors import Forbidden
from fastws.server.server import Server
from fastws.session.authorization import authorize, leave_forbidden_channels
from fastws.session.session import Session
from tests.serving import Serve
from tests.session.late_broker import until
from tests.transport.pipes import connect, say

AUTHORIZER = "an_application_that_allows:decide"


class Application:
    """An authorizer that allows the channels in `allowed`."""

    def __init__(self) -> None:
        self.allowed = {"a", "b"}
        self.asked: list[tuple[str, str]] = []

    async def decide(self, user: str | None, action: str, channel: str, claims: object) -> bool:
        self.asked.append((action, channel))
        return channel in self.allowed


@pytest.fixture
def application() -> Iterator[Application]:
    module = types.ModuleType(AUTHORIZER.partition(":")[0])
    decider = Application()
    module.decide = decider.decide  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield decider
    del sys.modules[module.__name__]


def session_of(server: Server, **claims: list[str]) -> Session:
    token = server.tokens.sign("ada", **claims)
    return connect(server, target=f"/?token={token}")[1].session


async def test_without_an_authorizer_the_token_decides_at_once(serve: Serve) -> None:
    session = session_of(await serve(), channels=["read"], publish=["write"])
    done: list[str] = []
    authorize(session, "subscribe", "read", lambda: done.append("subscribed"), None)
    authorize(session, "publish", "write", lambda: done.append("published"), None)
    assert done == ["subscribed", "published"]
    with pytest.raises(Forbidden, match="not allowed to subscribe to this channel") as refused:
        authorize(session, "subscribe", "write", lambda: done.append("no"), None)
    assert refused.value.channel == "write"
    with pytest.raises(Forbidden, match="not allowed to publish to this channel"):
        authorize(session, "publish", "read", lambda: done.append("no"), None)
    assert done == ["subscribed", "published"]
    assert session.backlog is None


async def test_an_answer_that_is_known_suspends_nothing(serve: Serve, application: Application) -> None:
    session = session_of(await serve(authorizer=AUTHORIZER))
    done: list[str] = []
    authorize(session, "subscribe", "a", lambda: done.append("first"), None)
    assert (done, session.backlog) == ([], [])
    await until(lambda: done)
    authorize(session, "subscribe", "a", lambda: done.append("second"), None)
    assert (done, session.backlog) == (["first", "second"], None)
    assert application.asked == [("subscribe", "a")]


async def test_a_channel_of_the_backends_is_refused_without_asking(serve: Serve, application: Application) -> None:
    server = await serve(authorizer=AUTHORIZER)
    application.allowed.add(server.config.jobs_channel)
    with pytest.raises(Forbidden, match="not allowed to publish"):
        authorize(session_of(server), "publish", server.config.jobs_channel, lambda: None, None)
    assert application.asked == []


async def test_an_error_of_the_request_is_its_reply_after_the_wait(serve: Serve, application: Application) -> None:
    server = await serve(authorizer=AUTHORIZER, max_channels_per_connection=1)
    pipe, connection = connect(server)
    for number, channel in enumerate("abc"):
        say(connection, {"action": "subscribe", "channel": channel, "id": number})
    await until(lambda: len(pipe.messages) == 3)
    assert [(message["id"], message.get("code")) for message in pipe.messages] == [
        (0, None),
        (1, "too_many_channels"),
        (2, "forbidden"),
    ]


async def test_after_a_refresh_the_application_is_asked_about_every_channel(
    serve: Serve, application: Application
) -> None:
    server = await serve(authorizer=AUTHORIZER)
    pipe, connection = connect(server, "a", "b", target=f"/?token={server.tokens.sign('ada')}")
    await until(lambda: len(pipe.messages) == 2)
    application.allowed.remove("a")
    say(connection, {"action": "refresh", "token": server.tokens.sign("ada", workspaces=["w1"])})
    await until(lambda: len(pipe.messages) == 4)
    assert connection.channel_names == ["b"]
    assert pipe.messages[3] == {"type": "unsubscribe_succeeded", "channel": "a", "reason": "forbidden"}


async def test_nothing_is_left_for_a_client_that_has_gone(serve: Serve, application: Application) -> None:
    server = await serve(authorizer=AUTHORIZER)
    pipe, connection = connect(server, "a")
    await until(lambda: len(pipe.messages) == 1)
    assert server.services.authorizer is not None
    application.allowed.clear()
    server.services.authorizer._answers.clear()
    left: list[str] = []
    leaving = leave_forbidden_channels(connection.session, server.services.authorizer, left.append)
    task = asyncio.create_task(leaving)
    await until(lambda: len(application.asked) == 2)
    connection.end(1000, "", label="test")
    await task
    assert left == []


async def test_the_application_is_not_asked_about_subscribing_to_mailboxes(
    serve: Serve, application: Application
) -> None:
    server = await serve(authorizer=AUTHORIZER)
    application.allowed.add("client:ada:laptop")
    token = server.tokens.sign("ada")
    pipe, connection = connect(
        server, "client:ada:laptop", "client:ada:phone", target=f"/?client_id=phone&token={token}"
    )
    assert [message.get("code") for message in pipe.messages] == ["forbidden", None]
    assert application.asked == []
    assert server.services.authorizer is not None
    left: list[str] = []
    await leave_forbidden_channels(connection.session, server.services.authorizer, left.append)
    assert (left, application.asked) == ([], [])
    say(connection, {"action": "send", "channel": "client:ada:laptop", "event": "e"})
    await until(lambda: len(pipe.messages) == 3)
    assert application.asked == [("publish", "client:ada:laptop")]
