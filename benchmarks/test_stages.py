"""µs per message by stage, without sockets: ingest, a send to oneself, a connect, a publication's fan-out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.in_process import Sink, connect, masked, server
from fastws.codec.json_text import JSON
from fastws.dialects.channels import CHANNELS
from fastws.server.server import Server
from fastws.transport.websocket import Connection
from fastws.vocabulary.publication import Publication
from fastws.wire.frame_reader import read_frames

SEND = b'{"action":"send","channel":"c0","event":"e","data":"temperature=21.53;humidity=40.1"}'
BATCH = 64


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = uvloop.new_event_loop()
    asyncio.set_event_loop(made)
    asyncio._set_running_loop(made)  # what is timed runs inside the loop's callbacks, as it does in a server
    asyncio._set_running_loop(None)
    yield made
    made.close()


@pytest.fixture
def started(loop: asyncio.AbstractEventLoop) -> Iterator[Server]:
    made = loop.run_until_complete(server())
    asyncio._set_running_loop(loop)
    yield made
    asyncio._set_running_loop(None)
    loop.run_until_complete(made.stop())


def test_read_a_batch_of_frames(benchmark: BenchmarkFixture) -> None:
    data = masked(SEND) * BATCH
    benchmark.extra_info["messages"] = BATCH
    messages, used = benchmark(read_frames, data, 0, 1_048_576, 1024)
    assert (len(messages), used) == (BATCH, len(data))


def test_decode_a_message(benchmark: BenchmarkFixture) -> None:
    benchmark(JSON.loads, SEND)


def test_parse_a_message(benchmark: BenchmarkFixture) -> None:
    benchmark(CHANNELS.parse, JSON.loads(SEND))


def test_ingest_a_batch_that_nobody_hears(benchmark: BenchmarkFixture, started: Server) -> None:
    _, connection = connect(started)
    benchmark.extra_info["messages"] = BATCH
    benchmark(connection.data_received, masked(SEND) * BATCH)


def test_send_to_oneself(benchmark: BenchmarkFixture, started: Server) -> None:
    sink, connection = connect(started)
    message = b'{"action":"send","connectionId":"%s","event":"e","data":"hello"}' % connection.id.encode()
    writes = sink.writes
    benchmark(connection.data_received, masked(message))
    assert sink.writes > writes


def test_connect_and_subscribe(benchmark: BenchmarkFixture, started: Server) -> None:
    subscribe = masked(b'{"action":"subscribe","channel":"c1"}')

    def connect_once() -> None:
        _, connection = connect(started)
        connection.data_received(subscribe)
        connection.connection_lost(None)

    benchmark(connect_once)


@pytest.mark.parametrize("subscribers", [10, 1000])
@pytest.mark.parametrize("publications", [1, 64])
def test_fan_out(benchmark: BenchmarkFixture, started: Server, subscribers: int, publications: int) -> None:
    """The hub's share of a delivery: everything but the system call."""
    clients: list[tuple[Sink, Connection]] = [connect(started) for _ in range(subscribers)]
    for _, connection in clients:
        connection.data_received(masked(b'{"action":"subscribe","channel":"c0"}'))
    said = [Publication("c0", "e", "temperature=21.53", sender="somebody") for _ in range(publications)]
    benchmark.extra_info["deliveries"] = subscribers * publications

    def publish() -> None:
        for publication in said:
            started.hub.deliver(publication)
        started.hub.flush()

    benchmark(publish)
    assert len({sink.bytes for sink, _ in clients}) == 1


def test_twenty_channels_to_the_same_hundred(benchmark: BenchmarkFixture, started: Server) -> None:
    """Clients in many channels: one write each, of shared bytes."""
    clients = [connect(started) for _ in range(100)]
    for _, connection in clients:
        for number in range(20):
            connection.data_received(masked(b'{"action":"subscribe","channel":"d%d"}' % number))

    def publish() -> None:
        for number in range(20):
            started.hub.deliver(Publication(f"d{number}", "e", "x"))
        started.hub.flush()

    writes = clients[0][0].writes
    benchmark.pedantic(publish, rounds=200)
    assert clients[0][0].writes == writes + 200
