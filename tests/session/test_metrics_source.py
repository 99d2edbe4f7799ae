"""The data for `request_metrics`: from the server, the application, or the last update."""

from __future__ import annotations

import sys
import types

import pytest

from fastws.brokers.memory import MemoryBroker
from fastws.session.metrics_source import MetricsSource
from fastws.vocabulary.publication import Publication
from tests.serving import Serve
from tests.session.late_broker import until
from tests.transport.pipes import connect


class TwoNodes(MemoryBroker):
    """A broker that has three subscribers on another node."""

    __slots__ = ()

    def remote_count(self, channel: str) -> int:
        return 3 if channel == "workspace:w1" else 0


async def test_connections_are_those_of_all_nodes(serve: Serve) -> None:
    server = await serve()
    connect(server, target=f"/ws?token={server.tokens.sign('ada', workspaces=['w1'])}")
    source = MetricsSource(server.hub, TwoNodes(server.hub), hook=None)
    answers: list[object] = []
    source.find("workspace:w1", "connections", answers.append)
    source.find("workspace:w2", "connections", answers.append)
    assert answers == [{"connections": 4}, {"connections": 0}]


async def test_without_a_hook_the_last_update_answers(serve: Serve) -> None:
    server = await serve()
    server.broker.publish(Publication("workspace:w1", "metrics_update", {"metric_type": "load", "value": 7}))
    source = MetricsSource(server.hub, server.broker, hook=None)
    answers: list[object] = []
    source.find("workspace:w1", "load", answers.append)
    source.find("workspace:w1", "other", answers.append)
    assert answers == [{"metric_type": "load", "value": 7}, {}]


async def test_a_hook_answers_for_all_but_the_number_of_connections(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("an_application_with_metrics")

    async def metrics(workspace: str, metric_type: str) -> object:
        return {"of": [workspace, metric_type]}

    module.metrics = metrics  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    server = await serve(metrics_hook=f"{module.__name__}:metrics")
    answers: list[object] = []
    find = server.services.metrics_source
    find("workspace:w1", "connections", answers.append)
    assert answers == [{"connections": 0}]
    find("workspace:w1", "load", answers.append)
    await until(lambda: len(answers) == 2)
    assert answers[1] == {"of": ["w1", "load"]}
