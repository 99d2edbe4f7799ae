"""Sending of webhooks: signed, in order within a channel, repeated with the same body, given up after 5 minutes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Collection, Sequence
from contextlib import asynccontextmanager

import orjson
import pytest

from fastws.callouts import webhooks
from fastws.callouts.webhooks import (
    MAX_REQUESTS,
    RETRY_SECONDS,
    WaitingEvent,
    WebhookClient,
    WebhookSender,
    WebhookTarget,
    body_of,
)
from fastws.errors import BrokerUnavailable
from tests.webhook_receiver import PATIENCE_SECONDS, receiver

NAMES = frozenset({"channel_occupied", "channel_vacated"})


def target(url: str = "http://127.0.0.1:1/", **more: object) -> WebhookTarget:
    return WebhookTarget("app", url, "secret", NAMES, **more)  # type: ignore[arg-type]


def event(number: int, channel: str = "c", name: str = "channel_occupied") -> WaitingEvent:
    return WaitingEvent(b"%d" % number, name, channel, orjson.dumps({"name": name, "channel": channel, "n": number}))


class Queue:
    """A queue in a list. `held` is what `holds` answers; `is_down`: it cannot be read."""

    def __init__(self, *events: WaitingEvent) -> None:
        self.events = list(events)
        self.held: bool | None = True
        self.is_down = False

    def holds(self, target_id: str) -> bool | None:
        return self.held

    async def read(self, target_id: str, limit: int) -> Sequence[WaitingEvent]:
        if self.is_down:
            raise BrokerUnavailable("Redis is away")
        return self.events[:limit]

    async def remove(self, target_id: str, ids: Collection[bytes]) -> None:
        if self.is_down:
            raise BrokerUnavailable("Redis is away")
        self.events = [each for each in self.events if each.id not in ids]


class Posts:
    """Answers each post when the test says so. `clock` moves by the delays before repetitions."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answers: list[asyncio.Future[str]] = []
        self.posted = asyncio.Event()

    async def __call__(self, target: WebhookTarget, body: bytes) -> str:
        self.bodies.append(body)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        self.posted.set()
        return await answer

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.bodies) < count:
                self.posted.clear()
                await self.posted.wait()

    def numbers(self) -> list[list[int]]:
        return [[each["n"] for each in orjson.loads(body)["events"]] for body in self.bodies]


@asynccontextmanager
async def sending(queue: Queue, to: WebhookTarget, post: object):  # type: ignore[no-untyped-def]
    sender = WebhookSender(to, queue, post, clock=Clock(), wall_clock=lambda: 1000.5)  # type: ignore[arg-type]
    task = asyncio.create_task(sender.run())
    sender.wake()
    yield sender
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Clock:
    def __call__(self) -> float:
        return asyncio.get_running_loop().time()


def test_the_body_names_the_time_and_the_events_in_order() -> None:
    assert orjson.loads(body_of([event(1), event(2)], 1764403200.1234)) == {
        "time_ms": 1764403200123,
        "events": [orjson.loads(event(1).body), orjson.loads(event(2).body)],
    }


def test_headers_sign_the_body_with_the_secret_of_the_target() -> None:
    signature = hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()
    content = {"Content-Type": "application/json"}
    assert target().headers(b"{}") == content | {"X-FastWS-Signature": signature}
    assert target(key="key").headers(b"{}") == content | {"X-Pusher-Key": "key", "X-Pusher-Signature": signature}


def test_ids_of_targets_and_shown_urls_contain_no_credentials() -> None:
    secret = target("https://ann:pass@example.com:8443/a/b?token=x")
    assert secret.shown_url == "https://example.com:8443/a/b"
    assert secret.id == target("https://ann:pass@example.com:8443/a/b?token=x").id != target("https://example.com").id
    assert len(secret.id) == 24


async def test_an_event_after_another_of_its_channel_waits_for_it_and_other_channels_do_not() -> None:
    queue, post = Queue(event(1, "a"), event(2, "a"), event(3, "b")), Posts()
    async with sending(queue, target(), post):
        await post.wait(2)
        assert post.numbers() == [[1], [3]]
        post.answers[0].set_result("")
        await post.wait(3)
        assert post.numbers() == [[1], [3], [2]]


async def test_a_channel_that_fails_keeps_its_order_and_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    monkeypatch.setattr(webhooks.asyncio, "sleep", _recorded(delays))
    queue, post = Queue(event(1, "a"), event(2, "a"), event(3, "b")), Posts()
    to = target()
    async with sending(queue, to, post) as sender:
        await post.wait(2)
        post.answers[0].set_result("status 500")
        post.answers[1].set_result("")
        await post.wait(3)
        assert post.bodies[2] == post.bodies[0]
        post.answers[2].set_result("")
        await post.wait(4)
        assert post.numbers()[3] == [2]
        post.answers[3].set_result("")
        await sender.drain()
    assert delays == [1.0]
    assert to.results == {("channel_occupied", "sent"): 3, ("channel_occupied", "failed"): 1}
    assert queue.events == []


async def test_no_more_than_some_requests_run_at_once() -> None:
    queue, post = Queue(*(event(number, f"c{number}") for number in range(20))), Posts()
    async with sending(queue, target(), post) as sender:
        await post.wait(MAX_REQUESTS)
        await sender.turn()
        assert len(post.bodies) == MAX_REQUESTS
        post.answers[3].set_result("")
        await post.wait(MAX_REQUESTS + 1)
        assert post.numbers()[-1] == [MAX_REQUESTS]


async def test_a_batch_is_one_request_for_all_channels_that_no_request_has() -> None:
    queue, post = Queue(event(1, "a"), event(2, "a"), event(3, "b")), Posts()
    async with sending(queue, target(batch_seconds=0.001), post) as sender:
        await post.wait(1)
        queue.events += [event(4, "a"), event(5, "c")]
        sender.wake()
        await post.wait(2)
        assert post.numbers() == [[1, 2, 3], [5]]
        post.answers[0].set_result("")
        await post.wait(3)
        assert post.numbers()[2] == [4]


async def test_a_stop_does_not_wait_until_a_batch_is_due() -> None:
    queue, post = Queue(event(1, "a")), Posts()
    async with sending(queue, target(batch_seconds=3600.0), post) as sender:
        stopping = asyncio.create_task(sender.drain())
        await post.wait(1)
        post.answers[0].set_result("")
        await asyncio.wait_for(stopping, PATIENCE_SECONDS)
    assert queue.events == []


async def test_it_gives_up_after_five_minutes_of_doubled_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    monkeypatch.setattr(webhooks.asyncio, "sleep", _recorded(delays))
    bodies: list[bytes] = []

    async def fails(target: WebhookTarget, body: bytes) -> str:
        bodies.append(body)
        return "status 500"

    queue, to = Queue(event(1)), target()
    sender = WebhookSender(to, queue, fails, clock=lambda: sum(delays))
    await sender.turn()
    await asyncio.gather(*sender._requests)
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
    assert sum(delays) <= RETRY_SECONDS < sum(delays) + 256.0
    assert len(set(bodies)) == 1
    assert len(bodies) == 9
    assert to.results == {("channel_occupied", "failed"): 9, ("channel_occupied", "dropped"): 1}
    await sender.turn()
    assert queue.events == []


async def test_a_process_that_lost_the_queue_sends_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks.asyncio, "sleep", _recorded([]))
    queue, post = Queue(event(1)), Posts()
    sender = WebhookSender(target(), queue, post, clock=Clock())
    await sender.turn()
    await post.wait(1)
    queue.held = False
    post.answers[0].set_result("status 500")
    await asyncio.gather(*sender._requests)
    await sender.turn()
    assert len(post.bodies) == 1
    assert queue.events == [event(1)]


async def test_while_redis_is_away_a_repetition_waits_and_then_has_the_same_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delays: list[float] = []
    queue, post = Queue(event(1)), Posts()

    def comes_back(seconds: float) -> None:
        if seconds == webhooks.POLL_SECONDS:
            queue.held = True

    monkeypatch.setattr(webhooks.asyncio, "sleep", _recorded(delays, comes_back))
    sender = WebhookSender(target(), queue, post, clock=Clock())
    await sender.turn()
    await post.wait(1)
    queue.held = None
    post.answers[0].set_result("no answer within 10 s")
    await post.wait(2)
    assert delays == [1.0, webhooks.POLL_SECONDS]
    assert post.bodies[0] == post.bodies[1]
    post.answers[1].set_result("")
    await asyncio.gather(*sender._requests)


async def test_an_event_is_not_sent_twice_if_its_removal_fails() -> None:
    queue, post = Queue(event(1)), Posts()
    sender = WebhookSender(target(), queue, post, clock=Clock())
    await sender.turn()
    await post.wait(1)
    post.answers[0].set_result("")
    await asyncio.gather(*sender._requests)
    queue.is_down = True
    await sender.turn()
    queue.is_down = False
    await sender.turn()
    assert queue.events == []
    assert len(post.bodies) == 1


async def test_an_event_that_is_sent_while_the_queue_is_read_is_not_sent_again() -> None:
    queue, post = Queue(event(1)), Posts()
    sender = WebhookSender(target(), queue, post, clock=Clock())
    await sender.turn()
    await post.wait(1)
    read = queue.read

    async def slow_read(target_id: str, limit: int) -> Sequence[WaitingEvent]:
        found = await read(target_id, limit)
        post.answers[0].set_result("")
        await asyncio.gather(*sender._requests)
        return found

    queue.read = slow_read  # type: ignore[method-assign]
    await sender.turn()
    assert not sender._requests
    queue.read = read  # type: ignore[method-assign]
    await sender.turn()
    assert len(post.bodies) == 1
    assert queue.events == []


async def test_a_receiver_that_fails_redirects_and_comes_back_gets_each_event_once() -> None:
    async with receiver() as hook:
        hook.statuses = [500, 307]
        client, to = WebhookClient(), target(hook.url, key="key")
        assert await client.post(to, b'{"events":[]}') == "status 500"
        assert await client.post(to, b'{"events":[]}') == "status 307"
        assert await client.post(to, b'{"events":[]}') == ""
        assert [status for *_, status in hook.requests] == [500, 307, 200]
        assert all(headers["X-Pusher-Key"] == "key" for headers, *_ in hook.requests)
        await client.close()


async def test_receivers_that_hang_take_no_connections_from_others() -> None:
    client = WebhookClient()
    async with receiver() as hanging, receiver() as healthy:
        hanging.gate.clear()
        requests = [asyncio.create_task(client.post(target(hanging.url), b"{}")) for _ in range(110)]
        assert await client.post(target(healthy.url), b"{}") == ""
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
    await client.close()


async def test_a_receiver_that_hangs_or_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client = WebhookClient()
    assert "connect" in (await client.post(target(), b"{}")).lower()
    monkeypatch.setattr(webhooks, "REPLY_SECONDS", 0.05)
    async with receiver() as hook:
        hook.gate.clear()
        assert await client.post(target(hook.url), b"{}") == "no answer within 0.05 s"
    await client.close()


def _recorded(delays: list[float], then: object = None):  # type: ignore[no-untyped-def]
    """A sleep that takes no time."""
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        delays.append(seconds)
        if callable(then):
            then(seconds)
        await real(0)

    return sleep
