"""Webhook events of several processes over Redis: each once, whoever dies and whenever Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fastws.callouts.webhooks import WebhookTarget
from fastws.cluster.redis import webhooks as over_redis
from fastws.cluster.redis.webhook_scripts import BATCH, Script
from fastws.cluster.redis.webhooks import RedisWebhooks
from fastws.cluster.webhooks import Webhooks
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.pusher_apps import WEBHOOK_EVENTS
from tests.brokers.recording_hub import passes
from tests.brokers.redis.documented_user import denied, rights_for_webhooks, url_of_documented_user
from tests.brokers.small_cluster import QUICK, Process
from tests.redis_server import RedisServer
from tests.webhook_receiver import Receiver, receiver

# Dead ones are noticed quickly; a beat is late only if the loop stands still for 3 s.
TIMES = replace(QUICK, node_expiry_seconds=3.0)


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


class Node:
    """One process with its webhooks."""

    def __init__(self, url: str, name: str, hook: Receiver, grace: float) -> None:
        self.broker = Process(url, name, TIMES).broker
        self.target = WebhookTarget("1", hook.url, "secret", WEBHOOK_EVENTS, grace_seconds=grace)
        self.store = RedisWebhooks(self.broker, [self.target])
        self.webhooks = Webhooks([self.target], self.store)

    async def start(self) -> None:
        await self.broker.start()
        await self.webhooks.start()

    async def stop(self) -> None:
        await self.webhooks.stop()
        await self.broker.stop()

    async def die(self) -> None:
        """As by SIGKILL: nothing is said to Redis."""
        self.store._task, task = None, self.store._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.webhooks.stop()
        await self.broker.stop()

    def has(self, channel: str, user: str | None = None, *, present: bool = True) -> None:
        self.webhooks.set_present("1", channel, user, is_present=present)

    @property
    def is_sender(self) -> bool:
        return self.store.holds(self.target.id) is True

    async def has_written(self) -> None:
        await asyncio.wait_for(self.store.settle(), 30)


@asynccontextmanager
async def nodes(url: str, hook: Receiver, *names: str, grace: float = 600.0) -> AsyncIterator[list[Node]]:
    made = [Node(url, name, hook, grace) for name in names]
    for node in made:
        await node.start()
    try:
        yield made
    finally:
        for node in made:
            await node.stop()


async def test_a_channel_is_occupied_with_the_first_process_and_vacated_with_the_last(
    redis_server: RedisServer, hook: Receiver
) -> None:
    async with nodes(redis_server.url, hook, "node_a", "node_b", grace=0.0) as (a, b):
        a.has("c")
        await a.has_written()
        b.has("c")
        b.has("presence-c", "u1")
        await b.has_written()
        a.has("c", present=False)
        await a.has_written()
        b.has("c", present=False)
        await hook.until(3)
        await a.has_written()
        assert sorted(hook.told) == [
            ("channel_occupied", "c"),
            ("channel_vacated", "c"),
            ("member_added", "presence-c"),
        ]
        assert {"name": "member_added", "channel": "presence-c", "user_id": "u1"} in hook.events
        assert [a.is_sender, b.is_sender].count(True) == 1


async def test_a_channel_is_vacated_after_its_last_member_however_late_that_is_known(
    redis_server: RedisServer, hook: Receiver
) -> None:
    """The two are in different batches: there may be thousands between them."""
    async with nodes(redis_server.url, hook, "node_a") as (a,):
        for is_present in (True, False):
            for user in (None, "u1"):
                a.has("presence-c", user, present=is_present)
                await a.has_written()
        with redis_server.client() as client:
            waiting = client.zrange("fastws:{webhooks}:leaving", 0, -1)
        assert waiting == [b"1\npresence-c\nu1", b"1\npresence-c"]


async def test_moving_to_another_process_within_the_grace_is_not_told(
    redis_server: RedisServer, hook: Receiver
) -> None:
    async with nodes(redis_server.url, hook, "node_a", "node_b") as (a, b):
        a.has("c")
        await a.has_written()
        a.has("c", present=False)
        await a.has_written()
        with redis_server.client() as client:
            assert client.zcard("fastws:{webhooks}:leaving") == 1
            b.has("c")
            await b.has_written()
            assert client.zcard("fastws:{webhooks}:leaving") == 0
        b.webhooks.tell("1", "client_event", "c")
        await hook.until(2)
        assert hook.told == [("channel_occupied", "c"), ("client_event", "c")]


async def test_events_of_one_channel_from_several_processes_stay_in_order(
    redis_server: RedisServer, hook: Receiver
) -> None:
    hook.statuses = [503]
    async with nodes(redis_server.url, hook, "node_a", "node_b") as (a, b):
        for number in range(20):
            node = (a, b)[number % 2]
            node.webhooks.tell("1", "client_event", "c", data=number)
            await node.has_written()
        await hook.until(20)
        assert [event["data"] for event in hook.events] == list(range(20))


async def test_a_miss_is_told_once_and_a_count_by_one_process(redis_server: RedisServer, hook: Receiver) -> None:
    async with nodes(redis_server.url, hook, "node_a", "node_b") as (a, b):
        for node in (a, b):
            node.has("cache-c")
            await node.has_written()
        for node in (a, b):
            node.webhooks.tell("1", "cache_miss", "cache-c", "miss")
            node.webhooks.tell("1", "subscription_count", "cache-c", "owner", subscription_count=2)
            node.webhooks.tell("1", "client_event", "end")
            await node.has_written()
        await hook.until(5)
        names = [name for name, _ in hook.told]
        assert sorted(names) == [
            *("cache_miss", "channel_occupied", "client_event", "client_event", "subscription_count"),
        ]


async def test_what_a_dead_process_had_is_told_as_gone_and_another_one_sends(
    redis_server: RedisServer, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over_redis, "HELD_SECONDS", 1.0)
    monkeypatch.setattr(over_redis, "LEASE_MS", 4000)
    async with nodes(redis_server.url, hook, "node_a", grace=0.0) as (a,):
        b = Node(redis_server.url, "node_b", hook, 0.0)
        await passes(lambda: a.is_sender)
        await b.start()
        for node in (a, b):
            node.has("both")
            await node.has_written()
        a.has("only_a")
        a.has("presence-r", "u1")
        await hook.until(3)
        # Whoever dies between an answer and the removal of its event leaves it to be sent again.
        with redis_server.client() as client:
            await passes(lambda: client.xlen(f"fastws:{{webhooks}}:queue:{a.target.id}") == 0)
        await a.die()
        await hook.until(5)
        b.webhooks.tell("1", "client_event", "end")
        await hook.until(6)
        assert sorted(hook.told[3:]) == [
            *(("channel_vacated", "only_a"), ("client_event", "end"), ("member_removed", "presence-r")),
        ]
        await b.stop()


async def test_at_a_stop_another_process_sends_what_waits(redis_server: RedisServer, hook: Receiver) -> None:
    async with nodes(redis_server.url, hook, "node_a") as (a,):
        await passes(lambda: a.is_sender)
        async with nodes(redis_server.url, hook, "node_b") as (b,):
            hook.gate.clear()
            a.webhooks.tell("1", "client_event", "c", data=1)
            await hook.wait(lambda: hook.under_way)
            await a.stop()
            hook.gate.set()
            await passes(lambda: b.is_sender)
            await hook.wait(lambda: hook.events)
            assert hook.events[-1]["data"] == 1


async def test_nothing_is_told_twice_or_lost_when_redis_cuts_its_clients(
    own_redis_server: RedisServer, hook: Receiver
) -> None:
    async with nodes(own_redis_server.url, hook, "node_a", "node_b", grace=0.0) as (a, b):
        a.has("before")
        await hook.until(1)
        for number in range(30):
            a.webhooks.tell("1", "client_event", "c", data=number)
            b.has(f"b{number}")
            if number % 10 == 5:
                await asyncio.to_thread(own_redis_server.kill_clients, "normal")
        await hook.until(61)
        await a.has_written()
        await b.has_written()
        a.webhooks.tell("1", "client_event", "end")
        await hook.wait(lambda: ("client_event", "end") in hook.told)
        told = hook.told
        assert len(told) == len(set(told)) + 29 == 62
        assert [event["data"] for event in hook.events if event["channel"] == "c"] == list(range(30))


async def test_a_redis_that_comes_back_empty_is_told_again_without_events(
    own_redis_server: RedisServer, hook: Receiver
) -> None:
    async with nodes(own_redis_server.url, hook, "node_a", "node_b", grace=0.0) as (a, b):
        for node in (a, b):
            node.has("both")
            await node.has_written()
        a.has("gone")
        await hook.until(2)
        await asyncio.to_thread(own_redis_server.kill)
        a.has("gone", present=False)
        a.has("new")
        a.webhooks.tell("1", "client_event", "both")
        await asyncio.to_thread(own_redis_server.start)
        await hook.until(5)
        b.has("both", present=False)
        await b.has_written()
        a.has("both", present=False)
        await hook.until(6)
        assert sorted(hook.told[2:5]) == [
            *(("channel_occupied", "new"), ("channel_vacated", "gone"), ("client_event", "both")),
        ]
        assert hook.told[5:] == [("channel_vacated", "both")]


async def test_of_too_many_events_the_oldest_are_dropped_and_counted(
    redis_server: RedisServer, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over_redis, "MAX_WAITING", 5)
    async with nodes(redis_server.url, hook, "node_a") as (a,):
        await passes(lambda: a.is_sender)
        hook.gate.clear()
        a.webhooks.tell("1", "client_event", "c", data=0)
        await hook.wait(lambda: hook.under_way)
        for number in range(1, 9):
            a.webhooks.tell("1", "client_event", "c", data=number)
            await a.has_written()
        hook.gate.set()
        await hook.until(6)
        assert [event["data"] for event in hook.events] == [0, 4, 5, 6, 7, 8]
        assert a.target.results["client_event", "dropped"] == 4


async def test_the_documented_rights_are_needed_and_sufficient(own_redis_server: RedisServer, hook: Receiver) -> None:
    rights = rights_for_webhooks()
    async with nodes(url_of_documented_user(own_redis_server, *rights), hook, "node_a", grace=0.0) as (a,):
        with own_redis_server.client() as client:
            # Of a process that has died, so that it is removed.
            client.zadd("fastws:{webhooks}:alive", {"dead": 1})
            client.sadd("fastws:{webhooks}:node:dead", "1\ngone")
        a.has("c")
        for name, once in (("cache_miss", "miss"), ("subscription_count", "owner"), ("client_event", "")):
            a.webhooks.tell("1", name, "c", once)  # type: ignore[arg-type]
        await hook.until(4)
        a.has("c", present=False)
        await hook.until(5)
        with own_redis_server.client() as client:
            await passes(lambda: not client.exists("fastws:{webhooks}:node:dead"))
            used = {command[len("cmdstat_") :] for command in client.info("commandstats")}
    assert denied(own_redis_server) == []
    assert {right[1:] for right in rights} <= used


async def test_a_batch_whose_answer_was_lost_is_executed_once(
    redis_server: RedisServer, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(redis_server.url, hook, "node_a") as (a,):
        call, lost = a.store._call, []

        async def loses_the_first_answer(script: Script, *arguments: bytes | str | int) -> object:
            reply = await call(script, *arguments)
            if script is BATCH and not lost:
                lost.append(reply)
                raise BrokerUnavailable("Redis did not answer")
            return reply

        monkeypatch.setattr(a.store, "_call", loses_the_first_answer)
        a.webhooks.tell("1", "client_event", "c", data=1)
        await passes(lambda: lost)
        a.webhooks.tell("1", "client_event", "c", data=2)
        await hook.until(2)
        assert [event["data"] for event in hook.events] == [1, 2]


async def test_a_process_that_was_taken_for_dead_reports_again(redis_server: RedisServer, hook: Receiver) -> None:
    async with nodes(redis_server.url, hook, "node_a", grace=0.0) as (a,):
        a.has("c")
        await hook.until(1)
        with redis_server.client() as client:
            client.zrem("fastws:{webhooks}:alive", "node_a")
            client.delete("fastws:{webhooks}:nodes:1\nc", "fastws:{webhooks}:told")
        await hook.until(2)
        assert hook.told == [("channel_occupied", "c"), ("channel_occupied", "c")]
