"""CPU in µs of a history in memory, without sockets: a fan-out with and without it, a return with and without a past.

Compare `test_fan_out[plain]` with `test_fan_out[kept]`, and `test_return[plain]` with `test_return[recovered]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.in_process import connect, masked
from fastws.brokers.memory import MemoryBroker
from fastws.config import Config
from fastws.server.server import Server
from fastws.vocabulary.publication import Publication

DATA = {"n": 1, "text": "x" * 100}
SUBSCRIBE = b'{"action":"subscribe","channel":"%s"}'
RECOVER = b'{"action":"subscribe","channel":"kept","offset":0,"epoch":"%s"}'
SUBSCRIBERS = 1000
MISSED = 100


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = uvloop.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def started(loop: asyncio.AbstractEventLoop) -> Iterator[Server]:
    made = Server(Config(port=0, message_rate=0.0, log_level="error", history=("kept=100/300",)))
    loop.run_until_complete(made.start())
    asyncio._set_running_loop(loop)
    yield made
    asyncio._set_running_loop(None)
    loop.run_until_complete(made.stop())


def broker_of(started: Server) -> MemoryBroker:
    broker = started.assembly.broker
    assert isinstance(broker, MemoryBroker)
    return broker


@pytest.mark.parametrize("channel", ["plain", "kept"])
def test_fan_out(benchmark: BenchmarkFixture, started: Server, channel: str) -> None:
    clients = [connect(started) for _ in range(SUBSCRIBERS)]
    for _, connection in clients:
        connection.data_received(masked(SUBSCRIBE % channel.encode()))
    broker = broker_of(started)

    def publish() -> None:
        broker.publish(Publication(channel, "e", DATA))
        started.hub.flush()

    benchmark(publish)
    assert clients[0][0].writes > 2


@pytest.mark.parametrize("kind", ["plain", "recovered"])
def test_return(benchmark: BenchmarkFixture, started: Server, kind: str) -> None:
    broker = broker_of(started)
    for _ in range(MISSED):
        broker.publish(Publication("kept", "e", DATA))
    assert broker.history is not None
    position = broker.history.heard("kept")
    assert position is not None
    message = masked(SUBSCRIBE % b"kept" if kind == "plain" else RECOVER % position.epoch.encode())
    anchor, _ = connect(started)

    def come_back() -> int:
        sink, connection = connect(started)
        connection.data_received(message)
        connection.connection_lost(None)
        return sink.bytes

    assert (benchmark(come_back) > MISSED * 100) is (kind == "recovered")
    assert anchor.writes
