"""An application that decides."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

from fastws.callouts import authorizer as authorizer_module
from fastws.callouts.authorizer import Authorizer
from fastws.errors import ConfigError
from fastws.vocabulary.identity import Identity

U1 = Identity("u1", claims={"sub": "u1", "role": "editor"})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def application() -> Iterator[Any]:
    """A module of an application's, to put functions in."""
    module = types.ModuleType("application_under_test")
    sys.modules[module.__name__] = module
    module.asked = []  # type: ignore[attr-defined]

    def record(user: str | None, action: str, channel: str, claims: dict[str, object]) -> bool:
        module.asked.append((user, action, channel, claims))  # type: ignore[attr-defined]
        return channel == "yes"

    module.record = record  # type: ignore[attr-defined]
    yield module
    del sys.modules[module.__name__]


async def test_a_function_is_asked_in_a_thread_and_its_answer_kept_for_seconds(application: Any) -> None:
    clock = Clock()
    asker = Authorizer("application_under_test:record", clock=clock)
    assert asker.known(U1, "subscribe", "yes") is None
    assert await asker.allows(U1, "subscribe", "yes")
    assert not await asker.allows(U1, "subscribe", "no")
    assert asker.known(U1, "subscribe", "yes") is True
    assert asker.known(U1, "subscribe", "no") is False
    assert await asker.allows(U1, "subscribe", "yes")
    assert application.asked == [
        ("u1", "subscribe", "yes", {"sub": "u1", "role": "editor"}),
        ("u1", "subscribe", "no", {"sub": "u1", "role": "editor"}),
    ]
    assert asker.known(U1, "publish", "yes") is None
    clock.now = 5.0
    assert asker.known(U1, "subscribe", "yes") is None
    await asker.close()


async def test_an_answer_is_for_one_token_and_not_for_the_user(application: Any) -> None:
    asker = Authorizer("application_under_test:record")
    assert await asker.allows(U1, "subscribe", "yes")
    assert asker.known(Identity("u1", claims=U1.claims), "subscribe", "yes") is None
    assert await asker.allows(None, "subscribe", "yes")
    assert application.asked[-1] == (None, "subscribe", "yes", {})
    assert asker.known(None, "subscribe", "yes") is True
    await asker.close()


async def test_a_coroutine_function_and_an_object_are_asked_in_the_loop(application: Any) -> None:
    class Judge:
        async def __call__(self, user: str | None, action: str, channel: str, claims: dict[str, object]) -> bool:
            return threading.current_thread() is threading.main_thread()

    async def function(user: str | None, action: str, channel: str, claims: dict[str, object]) -> bool:
        return threading.current_thread() is threading.main_thread()

    application.judge, application.function, application.inner = Judge(), function, types.SimpleNamespace(f=function)
    for name in ("judge", "function", "inner.f"):
        asker = Authorizer(f"application_under_test:{name}")
        assert await asker.allows(U1, "publish", "c")
        await asker.close()


async def test_no_answer_in_time_is_a_refusal_and_is_asked_again(application: Any) -> None:
    calls = []

    async def slow(*question: object) -> bool:
        calls.append(question)
        await asyncio.Event().wait()
        return True

    application.slow = slow
    asker = Authorizer("application_under_test:slow", timeout_seconds=0.01)
    assert not await asker.allows(U1, "subscribe", "c")
    assert asker.known(U1, "subscribe", "c") is None
    assert not await asker.allows(U1, "subscribe", "c")
    assert len(calls) == 2
    await asker.close()


async def test_a_thread_that_hangs_holds_up_nobody(application: Any) -> None:
    release = threading.Event()
    application.hangs = lambda *question: release.wait(30)
    asker = Authorizer("application_under_test:hangs", timeout_seconds=0.01)
    assert not await asker.allows(U1, "subscribe", "c")
    release.set()
    await asker.close()


@pytest.mark.parametrize("answer", [None, 1, "yes", [True], {"allow": True}])
async def test_what_is_merely_truthy_is_a_refusal(application: Any, answer: object) -> None:
    application.truthy = lambda *question: answer
    asker = Authorizer("application_under_test:truthy")
    assert await asker.allows(U1, "subscribe", "c") is False
    assert asker.known(U1, "subscribe", "c") is None
    await asker.close()


async def test_an_error_of_the_application_is_a_refusal(application: Any) -> None:
    def fails(*question: object) -> bool:
        raise RuntimeError("database gone")

    application.fails = fails
    asker = Authorizer("application_under_test:fails")
    assert not await asker.allows(U1, "subscribe", "c")
    await asker.close()


async def test_the_same_question_is_asked_once_at_a_time(application: Any) -> None:
    calls = []
    answered = asyncio.Event()

    async def waits(*question: object) -> bool:
        calls.append(question)
        await answered.wait()
        return True

    application.waits = waits
    asker = Authorizer("application_under_test:waits", timeout_seconds=30)
    asking = [asyncio.create_task(asker.allows(U1, "subscribe", "c")) for _ in range(5)]
    while not calls:
        await asyncio.sleep(0)
    # One client leaves: the others get their answer all the same.
    asking[0].cancel()
    answered.set()
    assert (await asyncio.gather(*asking, return_exceptions=True))[1:] == [True] * 4
    assert len(calls) == 1
    await asker.close()


async def test_who_still_waits_at_the_end_is_refused(application: Any) -> None:
    begun = asyncio.Event()

    async def waits(*question: object) -> bool:
        begun.set()
        await asyncio.Event().wait()
        return True

    application.waits = waits
    asker = Authorizer("application_under_test:waits", timeout_seconds=30)
    asking = asyncio.create_task(asker.allows(U1, "subscribe", "c"))
    await begun.wait()
    await asker.close()
    assert await asking is False


async def test_the_answers_kept_are_bounded(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorizer_module, "MAX_ANSWERS", 10)
    asker = Authorizer("application_under_test:record")
    for n in range(30):
        await asker.allows(U1, "subscribe", f"c{n}")
    kept = [n for n in range(30) if asker.known(U1, "subscribe", f"c{n}") is not None]
    assert kept == list(range(20, 30))
    await asker.close()


async def test_the_answer_that_expires_first_gives_way_in_constant_time(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorizer_module, "MAX_ANSWERS", 3)
    clock = Clock()
    asker = Authorizer("application_under_test:record", clock=clock)
    answers = asker._answers
    for channel in ("a", "b", "c"):
        await asker.allows(U1, "subscribe", channel)
    clock.now = 5.0
    await asker.allows(U1, "subscribe", "a")
    await asker.allows(U1, "subscribe", "d")
    clock.now = 4.0
    assert [c for c in "abcd" if asker.known(U1, "subscribe", c) is not None] == ["a", "c", "d"]
    # It is still the same table: making room does not copy the others.
    assert asker._answers is answers
    await asker.close()


async def test_a_callback_is_posted_the_question(site: Any) -> None:
    site.says({"allow": True})
    asker = Authorizer(site.url)
    assert await asker.allows(U1, "publish", "c")
    site.says({"allow": False})
    assert not await asker.allows(None, "subscribe", "c")
    assert [(method, json.loads(body)) for method, body in site.requests] == [
        ("POST", {"user": "u1", "action": "publish", "channel": "c", "claims": {"sub": "u1", "role": "editor"}}),
        ("POST", {"user": None, "action": "subscribe", "channel": "c", "claims": {}}),
    ]
    assert asker.known(None, "subscribe", "c") is False
    await asker.close()


BAD_ANSWERS: list[tuple[int, bytes]] = [
    (500, b'{"allow": true}'),
    (201, b'{"allow": true}'),
    (302, b'{"allow": true}'),
    (200, b"true"),
    (200, b"{}"),
    (200, b'{"allow": "yes"}'),
    (200, b'{"allow": 1}'),
    (200, b"<html>"),
    (200, b"\xff"),
]


@pytest.mark.parametrize("answer", BAD_ANSWERS)
async def test_any_other_answer_of_a_callback_is_a_refusal_and_asked_again(
    site: Any, answer: tuple[int, bytes]
) -> None:
    site.answer = answer
    asker = Authorizer(site.url)
    assert not await asker.allows(U1, "subscribe", "c")
    site.says({"allow": True})
    assert await asker.allows(U1, "subscribe", "c")
    await asker.close()


async def test_a_callback_that_hangs_or_is_gone_is_a_refusal(site: Any) -> None:
    site.answer = None
    asker = Authorizer(site.url, timeout_seconds=0.05)
    assert not await asker.allows(U1, "subscribe", "c")
    await site.close()
    assert not await asker.allows(U1, "subscribe", "c")
    await asker.close()
    await site.start()


@pytest.mark.parametrize(
    "where",
    [
        "",
        "application",
        ":function",
        "json:",
        "no_such_module_here:function",
        "json:no_such_function",
        "json:__name__",
        "ftp://x/y",
        "http//x",
    ],
)
def test_what_cannot_be_loaded_stops_the_start_in_one_line(where: str) -> None:
    with pytest.raises(ConfigError, match="authorizer") as refused:
        Authorizer(where)
    assert "\n" not in str(refused.value)
