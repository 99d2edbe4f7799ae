"""SIGUSR1 and PUT /log-level on server processes, with one process and with workers."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from tests.hostile.server_process import BROADCAST_KEY, ServerProcess
from tests.redis_server import RedisServer

CHANGES = "log level changed"


def levels(server: ServerProcess) -> list[object]:
    return [line["now"] for line in server.log_lines(CHANGES)]


def put_level(server: ServerProcess, level: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        headers = {"Authorization": f"Bearer {BROADCAST_KEY}"}
        connection.request("PUT", "/log-level", json.dumps({"level": level}), headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def two_workers(redis_server: RedisServer) -> Iterator[ServerProcess]:
    with ServerProcess("--workers", "2", "--redis-url", redis_server.url, "--log-format", "json") as server:
        server.wait_until(lambda: len(server.log_lines("worker is ready")) == 2, 30)
        yield server


def test_sigusr1_turns_debug_on_and_off_and_connections_say_so() -> None:
    with ServerProcess("--log-level", "warning", "--log-format", "json") as server:
        with connect(f"ws://127.0.0.1:{server.port}/", proxy=None):
            pass
        assert not server.log_lines("connection opened")
        server.signal(signal.SIGUSR1)
        server.wait_until(lambda: len(server.log_lines(CHANGES)) == 1)
        with connect(f"ws://127.0.0.1:{server.port}/", proxy=None):
            pass
        server.wait_until(lambda: server.log_lines("connection opened"))
        server.signal(signal.SIGUSR1)
        server.wait_until(lambda: len(server.log_lines(CHANGES)) == 2)
        assert levels(server) == ["debug", "warning"]
        assert server.is_alive


def test_sigusr1_to_the_supervisor_reaches_every_worker_and_those_that_follow(two_workers: ServerProcess) -> None:
    server = two_workers
    server.signal(signal.SIGUSR1)
    server.wait_until(lambda: len(server.log_lines(CHANGES)) == 3)  # the supervisor and two workers
    for child in server.watched.children():
        child.kill()
    server.wait_until(lambda: len(server.log_lines("worker is ready")) == 4, 30)
    server.wait_until(lambda: len(server.log_lines(CHANGES)) == 5)
    assert levels(server) == ["debug"] * 5
    server.signal(signal.SIGUSR1)
    server.wait_until(lambda: len(server.log_lines(CHANGES)) == 8)
    assert levels(server)[5:] == ["info"] * 3


def test_a_put_to_one_worker_reaches_all(two_workers: ServerProcess) -> None:
    assert put_level(two_workers, "debug") == 200
    two_workers.wait_until(lambda: len(two_workers.log_lines(CHANGES)) == 2)
    assert levels(two_workers) == ["debug", "debug"]
