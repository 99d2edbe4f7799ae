"""The cost of receiving a message from Redis, compared with redis-py's `listen()`.

Run with `pytest benchmarks/test_redis_listener.py`; `extra_info` holds the CPU time of this process in µs a message.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio
import uvloop

from fastws.brokers import envelope
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.handshake import dial
from fastws.brokers.redis.wire.listener import RedisListener
from fastws.redis_address import parse_address
from fastws.vocabulary.publication import Publication
from tests.redis_server import RedisServer

MESSAGES = 50_000
DATA = {"type": "status_changed", "execution": "execution:1", "progress": 50, "text": "x" * 150}
PAYLOAD = envelope.encode(Publication("admin", "status_changed", DATA, sender="node_a" + "x" * 22), "node_a", 12345)
NAME = b"fastws:channel:admin"

PUBLISHER = """
import sys, redis
client = redis.Redis.from_url(sys.argv[1], protocol=2)
payload = bytes.fromhex(sys.argv[2])
for _ in range(int(sys.argv[3]) // 500):
    pipeline = client.pipeline(transaction=False)
    for _ in range(500):
        pipeline.publish("fastws:channel:admin", payload)
    pipeline.execute()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    server = RedisServer("--client-output-buffer-limit", "pubsub 0 0 0")
    server.start()
    yield server
    server.close()


def publisher(server: RedisServer) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PUBLISHER, server.url, PAYLOAD.hex(), str(MESSAGES)])


def measure(benchmark: Any, coroutine_function: Any) -> None:
    """Three rounds of this process's CPU time, without that of the publisher and Redis."""
    spent: list[float] = []

    def one_round() -> None:
        spent.append(asyncio.Runner(loop_factory=uvloop.new_event_loop).run(coroutine_function()))

    benchmark.pedantic(one_round, rounds=3, warmup_rounds=1)
    benchmark.extra_info["cpu_us_per_message"] = round(min(spent) * 1e6, 2)


class Counted:
    """Counts messages, and wakes the waiting task when all have arrived."""

    def __init__(self, *, decodes: bool) -> None:
        self.count = 0
        self.all_there = asyncio.Event()
        self._decodes = decodes

    def message(self, name: bytes, payload: bytes) -> None:
        if self._decodes:
            envelope.decode(payload, "admin")
        self.count += 1
        if self.count == MESSAGES:
            self.all_there.set()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decodes", [False, True], ids=["bytes", "decoded envelope"])
def test_listener(benchmark: Any, server: RedisServer, protocol: int, *, decodes: bool) -> None:
    async def run() -> float:
        counted, subscribed = Counted(decodes=decodes), asyncio.Event()
        listener = RedisListener(
            counted.message,
            lambda name: subscribed.set(),
            lambda: None,
            lambda reason: None,
            lambda names, name, reason: None,
        )
        listener.want((NAME,))
        transport, client_id = await dial(parse_address(f"{server.url}?protocol={protocol}"), "bench")
        transport.set_protocol(listener)
        listener.connected(transport, client_id)
        await subscribed.wait()
        process = publisher(server)
        began = time.process_time()
        await counted.all_there.wait()
        spent = time.process_time() - began
        await asyncio.to_thread(process.wait)
        transport.abort()
        return spent / MESSAGES

    measure(benchmark, run)


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_listen(benchmark: Any, server: RedisServer, protocol: int) -> None:
    async def run() -> float:
        client = redis.asyncio.Redis.from_url(server.url, protocol=protocol)
        async with client, client.pubsub(ignore_subscribe_messages=False) as pubsub:
            await pubsub.subscribe(NAME)
            count, process, began = 0, None, 0.0
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    process = publisher(server)
                    began = time.process_time()
                    continue
                count += 1
                if count == MESSAGES:
                    break
            spent = time.process_time() - began
            assert process is not None
            await asyncio.to_thread(process.wait)
            return spent / MESSAGES

    measure(benchmark, run)


def test_commander_publishes(benchmark: Any, server: RedisServer) -> None:
    async def run() -> float:
        all_answered, count = asyncio.Event(), 0

        def answered(reply: object) -> None:
            nonlocal count
            count += 1
            if count == MESSAGES:
                all_answered.set()

        commander = RedisCommander("bench", lambda: None, lambda reason: None)
        transport, client_id = await dial(parse_address(server.url), "bench")
        transport.set_protocol(commander)
        commander.connected(transport, client_id)
        began = time.process_time()
        for number in range(MESSAGES):
            commander.publish(NAME, PAYLOAD, answered)
            if number % 1000 == 999:
                await asyncio.sleep(0)
        await all_answered.wait()
        spent = time.process_time() - began
        transport.abort()
        return spent / MESSAGES

    measure(benchmark, run)


def test_redis_py_pipeline_publishes(benchmark: Any, server: RedisServer) -> None:
    async def run() -> float:
        async with redis.asyncio.Redis.from_url(server.url, protocol=2) as client:
            await client.ping()
            began = time.process_time()
            for _ in range(MESSAGES // 1000):
                pipeline = client.pipeline(transaction=False)
                for _ in range(1000):
                    pipeline.publish(NAME, PAYLOAD)
                await pipeline.execute()
            return (time.process_time() - began) / MESSAGES

    measure(benchmark, run)


def test_encode_an_envelope(benchmark: Any) -> None:
    publication = Publication("admin", "status_changed", DATA, sender="node_a" + "x" * 22)
    assert benchmark(envelope.encode, publication, "node_a", 12345) == PAYLOAD


def test_decode_an_envelope(benchmark: Any) -> None:
    assert benchmark(envelope.decode, PAYLOAD, "admin").number == 12345
