"""Webhook events of one process: told once, returns within the grace not at all, the oldest dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import orjson
import pytest

from fastws.callouts.webhooks import WebhookTarget
from fastws.cluster import memory_webhooks
from fastws.cluster.memory_webhooks import MemoryWebhooks
from fastws.cluster.webhooks import Webhooks
from fastws.vocabulary.pusher_apps import WEBHOOK_EVENTS
from tests.webhook_receiver import Receiver, receiver


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


def made(
    hook: Receiver, *, grace: float = 600.0, events: Iterable[str] = WEBHOOK_EVENTS
) -> tuple[Webhooks, WebhookTarget]:
    target = WebhookTarget("1", hook.url, "secret", frozenset(events), grace_seconds=grace)
    return Webhooks([target], MemoryWebhooks([target], asyncio.get_running_loop())), target


async def test_coming_is_told_at_once_and_going_after_the_grace(hook: Receiver) -> None:
    webhooks, target = made(hook, grace=0.0)
    await webhooks.start()
    webhooks.set_present("1", "c", is_present=True)
    webhooks.set_present("1", "c", is_present=True)
    webhooks.set_present("1", "presence-c", "u1", is_present=True)
    webhooks.set_present("1", "c", is_present=False)
    assert await hook.until(3)
    assert sorted(hook.told) == [
        ("channel_occupied", "c"),
        ("channel_vacated", "c"),
        ("member_added", "presence-c"),
    ]
    assert {"name": "member_added", "channel": "presence-c", "user_id": "u1"} in hook.events
    await webhooks.drain(10.0)
    await webhooks.stop()
    assert target.results["channel_vacated", "sent"] == 1
    assert webhooks.waiting(is_pusher=True) == 0


class LateLoop:
    """A loop whose time passes between two calls, as on a busy machine."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, asyncio.TimerHandle]] = []

    def time(self) -> float:
        self.now += 0.01
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        due = self.time() + delay
        handle = asyncio.TimerHandle(due, callback, arguments, asyncio.get_running_loop())
        self._timers.append((due, handle))
        return handle

    def run(self) -> None:
        for _, handle in sorted(self._timers, key=lambda timer: timer[0]):
            if not handle.cancelled():
                handle._run()


async def test_a_channel_is_vacated_after_its_last_member_however_late_that_is_known(hook: Receiver) -> None:
    target = WebhookTarget("1", hook.url, "secret", WEBHOOK_EVENTS, grace_seconds=0.0)
    loop = LateLoop()
    store = MemoryWebhooks([target], loop)  # type: ignore[arg-type]
    webhooks = Webhooks([target], store)
    for user in (None, "u1", "u2"):
        webhooks.set_present("1", "presence-c", user, is_present=True)
    for user in (None, "u1", "u2"):
        webhooks.set_present("1", "presence-c", user, is_present=False)
    loop.run()
    events = [event.name for event in await store.read(target.id, 100)][3:]
    assert events == ["member_removed", "member_removed", "channel_vacated"]


async def test_a_return_within_the_grace_is_not_told(hook: Receiver) -> None:
    webhooks, _ = made(hook)
    await webhooks.start()
    for is_present in (True, False, True, False):
        webhooks.set_present("1", "c", is_present=is_present)
    await webhooks.drain(10.0)
    assert hook.told == [("channel_occupied", "c"), ("channel_vacated", "c")]
    await webhooks.stop()


async def test_only_events_that_a_url_gets_are_kept(hook: Receiver) -> None:
    webhooks, _ = made(hook, events=("client_event",))
    await webhooks.start()
    webhooks.set_present("1", "c", is_present=True)
    webhooks.set_present("2", "c", is_present=True)
    webhooks.tell("1", "cache_miss", "c")
    webhooks.tell("2", "client_event", "c")
    webhooks.tell("1", "client_event", "c", event="client-x", data='{"a":1}')
    await webhooks.drain(10.0)
    assert hook.events == [{"name": "client_event", "channel": "c", "event": "client-x", "data": '{"a":1}'}]
    await webhooks.stop()


async def test_a_cache_miss_is_told_once_in_ten_seconds(hook: Receiver) -> None:
    webhooks, _ = made(hook)
    await webhooks.start()
    for channel in ("cache-a", "cache-a", "cache-b"):
        webhooks.tell("1", "cache_miss", channel, "miss")
    await webhooks.drain(10.0)
    assert sorted(hook.told) == [("cache_miss", "cache-a"), ("cache_miss", "cache-b")]
    await webhooks.stop()


async def test_of_too_many_events_the_oldest_are_dropped(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_webhooks, "MAX_WAITING", 3)
    webhooks, target = made(hook)
    for number in range(5):
        webhooks.tell("1", "client_event", "c", data=number)
    assert webhooks.waiting(is_pusher=True) == 3
    assert target.results == {("client_event", "dropped"): 2}
    await webhooks.start()
    await webhooks.drain(10.0)
    assert [event["data"] for event in hook.events] == [2, 3, 4]
    await webhooks.stop()


async def test_a_url_that_hangs_delays_no_other_and_gets_its_events_later(hook: Receiver) -> None:
    async with receiver() as hanging:
        hanging.gate.clear()
        targets = [WebhookTarget("1", each.url, "secret", WEBHOOK_EVENTS) for each in (hanging, hook)]
        webhooks = Webhooks(targets, MemoryWebhooks(targets, asyncio.get_running_loop()))
        await webhooks.start()
        for number in range(20):
            webhooks.tell("1", "client_event", "c", data=number)
        await hook.until(20)
        assert webhooks.waiting(is_pusher=True) >= 20
        assert hanging.events == []
        hanging.gate.set()
        await hanging.until(20)
        assert [event["data"] for event in hanging.events] == list(range(20))
        await webhooks.stop()


async def test_the_order_within_a_channel_survives_failures(hook: Receiver) -> None:
    webhooks, _ = made(hook)
    hook.statuses = [500]
    await webhooks.start()
    for number in range(10):
        webhooks.tell("1", "client_event", "c", data=number)
    await hook.until(10)
    assert [event["data"] for event in hook.events] == list(range(10))
    failed, repeated = hook.requests[0], hook.requests[1]
    assert failed[1] == repeated[1]
    assert orjson.loads(failed[1])["events"][0]["data"] == 0
    await webhooks.stop()
