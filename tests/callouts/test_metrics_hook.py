"""The metrics hook: its answers, its errors, and the limit of requests under way."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator

import pytest

from fastws.callouts.metrics_hook import MAX_QUESTIONS, MetricsHook
from fastws.errors import FastWSError, RateLimited

Function = Callable[[str, str], Awaitable[object]]
MODULE = "an_application_that_measures"


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    made = types.ModuleType(MODULE)
    sys.modules[MODULE] = made
    yield made
    del sys.modules[MODULE]


class Hook:
    """A MetricsHook that calls `function`, the answers that it gave, and its tasks."""

    def __init__(self, module: types.ModuleType, function: Function) -> None:
        module.metrics = function  # type: ignore[attr-defined]
        self.answers: list[object] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.hook = MetricsHook(f"{MODULE}:metrics", "workspace:{workspace_id}", self._spawn)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def ask(self, channel: str = "workspace:w1", metric_type: str = "load") -> None:
        self.hook.ask(channel, metric_type, self.answers.append)

    async def finish(self) -> list[object]:
        await asyncio.gather(*self.tasks)
        await self.hook.close()
        return self.answers


async def test_the_function_gets_the_workspace_and_its_result_is_the_answer(module: types.ModuleType) -> None:
    async def metrics(workspace: str, metric_type: str) -> object:
        return {"of": [workspace, metric_type]}

    hook = Hook(module, metrics)
    hook.ask()
    assert hook.answers == []
    assert await hook.finish() == [{"of": ["w1", "load"]}]


async def test_an_error_of_the_function_is_an_answer_without_internals(module: types.ModuleType) -> None:
    async def metrics(workspace: str, metric_type: str) -> object:
        raise ValueError("internals")

    hook = Hook(module, metrics)
    hook.ask()
    [answer] = await hook.finish()
    assert isinstance(answer, FastWSError)
    assert str(answer) == "the application did not answer"


async def test_requests_over_the_limit_are_refused_until_others_are_answered(module: types.ModuleType) -> None:
    may_answer = asyncio.Event()

    async def metrics(workspace: str, metric_type: str) -> object:
        await may_answer.wait()
        return 1

    hook = Hook(module, metrics)
    for _ in range(MAX_QUESTIONS + 1):
        hook.ask()
    [refused] = hook.answers
    assert isinstance(refused, RateLimited)
    may_answer.set()
    await asyncio.gather(*hook.tasks)
    hook.ask()
    answers = await hook.finish()
    assert answers[1:] == [1] * (MAX_QUESTIONS + 1)


async def test_a_channel_that_is_not_a_workspace_is_refused_without_asking(module: types.ModuleType) -> None:
    async def metrics(workspace: str, metric_type: str) -> object:
        raise AssertionError("asked")

    hook = Hook(module, metrics)
    hook.ask("news")
    assert [type(answer) for answer in await hook.finish()] == [RateLimited]
