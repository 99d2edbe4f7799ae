"""The setting `metrics_hook`: answers of an application, and what clients get if it does not answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastws.callouts import metrics_hook
from tests.serving import PATIENCE_SECONDS, Join, Serve, Talker

HERE = __name__
hold: asyncio.Event
asked: list[tuple[str, str]] = []
release = threading.Event()


async def coroutine(workspace: str, metric_type: str) -> object:
    asked.append((workspace, metric_type))
    return {"workspace": workspace, "metric_type": metric_type}


def sync(workspace: str, metric_type: str) -> object:
    release.wait(PATIENCE_SECONDS)  # as a database query would take
    return [workspace, metric_type]


async def failing(workspace: str, metric_type: str) -> object:
    raise RuntimeError("a secret of the application")


async def unspeakable(workspace: str, metric_type: str) -> object:
    return {"data": object()}


async def slow(workspace: str, metric_type: str) -> object:
    await hold.wait()
    return metric_type


@pytest.fixture(autouse=True)
async def _fresh() -> Iterator[None]:
    global hold
    hold = asyncio.Event()
    asked.clear()
    release.clear()


async def member(serve: Serve, join: Join, function: str, **settings: Any) -> Talker:
    server = await serve(metrics_hook=f"{HERE}:{function}", **settings)
    return await join(server, "/ws", token=server.tokens.sign("u1", workspaces=["w:1"]))


async def metrics(client: Talker, metric_type: str, request_id: object = 1) -> Any:
    return await client.ask({"type": "request_metrics", "metric_type": metric_type, "id": request_id})


@pytest.mark.parametrize("template", ["workspace:{workspace_id}", "ws-{workspace_id}:events"])
async def test_the_application_answers_for_the_workspace(serve: Serve, join: Join, template: str) -> None:
    client = await member(serve, join, "coroutine", workspace_channel=template)
    answer = await metrics(client, "executions", 7)
    assert (answer["event"], answer["metric_type"], answer["id"]) == ("metrics_update", "executions", 7)
    assert answer["data"] == {"workspace": "w:1", "metric_type": "executions"}
    assert (await metrics(client, "connections"))["data"] == {"connections": 1}
    assert asked == [("w:1", "executions")]


async def test_a_function_that_waits_holds_up_nobody(serve: Serve, join: Join) -> None:
    server = await serve(metrics_hook=f"{HERE}:sync")
    token = server.tokens.sign("u1", workspaces=["w:1"])
    client, other = await join(server, "/ws", token=token), await join(server, "/ws", token=token)
    asking = asyncio.create_task(metrics(client, "m"))
    for _ in range(3):
        await other.hears_nothing()
    assert not asking.done()
    release.set()
    assert (await asking)["data"] == ["w:1", "m"]


@pytest.mark.parametrize("function", ["failing", "unspeakable"])
async def test_metrics_that_cannot_be_found_are_an_error_of_the_request(
    serve: Serve, join: Join, function: str
) -> None:
    client = await member(serve, join, function)
    answer = await metrics(client, "m", "r1")
    assert (answer["event"], answer["id"]) == ("error", "r1")
    assert "secret" not in answer["message"]
    assert (await client.ask({"type": "ping"}))["event"] == "pong"


async def test_an_application_that_does_not_answer_is_given_up(
    serve: Serve, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_hook, "ANSWER_SECONDS", 0.1)
    client = await member(serve, join, "slow")
    answer = await metrics(client, "m", 3)
    assert (answer["event"], answer["id"]) == ("error", 3)


async def test_questions_to_a_slow_application_are_bounded(
    serve: Serve, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_hook, "MAX_QUESTIONS", 3)
    server = await serve(metrics_hook=f"{HERE}:slow")
    token = server.tokens.sign("u1", workspaces=["w:1"])
    clients = [await join(server, "/ws", token=token) for _ in range(4)]
    for client in clients[:3]:
        await client.say({"type": "request_metrics", "metric_type": "m"})
        await client.say({"type": "request_metrics", "metric_type": "again"})  # one at a time
    refused: Any = {}
    while refused.get("event") != "error":  # skip the replies to the others
        refused = await clients[3].ask({"type": "ping"})
        if server.assembly.metrics_hook is not None and server.assembly.metrics_hook._questions == 3:
            refused = await metrics(clients[3], "m", 3)
    assert refused["id"] == 3
    hold.set()
    for client in clients[:3]:
        assert [(await client.hear())["data"] for _ in range(2)] == ["m", "again"]
    assert (await metrics(clients[3], "m", 5))["data"] == "m"
