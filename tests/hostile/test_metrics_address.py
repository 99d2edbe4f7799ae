"""Row A15: figures at an address of their own, and nothing else there."""

from __future__ import annotations

import http.client
import subprocess
import sys

import pytest

from tests.hostile.conftest import Run
from tests.hostile.raw_client import RawClient
from tests.hostile.server_process import ServerProcess
from tests.ports import free_port
from tests.redis_server import RedisServer


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a15_metrics_are_served_at_their_own_address_and_not_at_the_public_one(run: Run) -> None:
    port = free_port()
    server = run("--metrics-address", f"127.0.0.1:{port}")
    assert server.get("/metrics")[0] == 404
    status, text = get(port, "/metrics")
    assert (status, b"fastws_connections_opened_total" in text) == (200, True)
    assert {path: get(port, path)[0] for path in ("/health", "/ready", "/", "/connections", "/broadcast")} == {
        "/health": 200,
        "/ready": 200,
        "/": 404,
        "/connections": 404,
        "/broadcast": 404,
    }
    with RawClient(port) as client:
        assert client.upgrade() == 404
    server.assert_clean_log()


def test_a15_the_figures_are_there_when_clients_have_taken_all_descriptors(run: Run) -> None:
    port = free_port()
    server = run("--metrics-address", f"127.0.0.1:{port}", "--handshake-timeout", "60", descriptors=64)
    silent = [RawClient(server.port) for _ in range(100)]
    assert get(port, "/metrics")[0] == 200
    for client in silent:
        client.close()


def test_a15_one_address_shows_the_figures_of_all_workers(redis_server: RedisServer) -> None:
    port = free_port()
    flags = ("--workers", "2", "--redis-url", redis_server.url, "--metrics-address", f"127.0.0.1:{port}")
    with ServerProcess(*flags) as server:
        server.wait_until(lambda: _answers(port))
        clients = [RawClient(server.port) for _ in range(10)]
        for client in clients:
            server.wait_until(lambda client=client: client.upgrade() == 101)  # type: ignore[misc]
        assert b'fastws_connections{codec="json",dialect="channels"} 10.0' in get(port, "/metrics")[1]
        for client in clients:
            client.close()


def _answers(port: int) -> bool:
    try:
        return get(port, "/ready")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("address", ["9100", "127.0.0.1:", ":x", "127.0.0.1:99999", "localhost:9:1"])
def test_i9_an_address_that_is_none_stops_the_start(address: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "fastws", "serve", "--port", "0", "--metrics-address", address],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "metrics_address" in ended.stderr


def test_i9_an_address_in_use_stops_the_start(run: Run) -> None:
    server = run()
    ended = subprocess.run(
        [sys.executable, "-m", "fastws", "serve", "--port", "0", "--metrics-address", f"127.0.0.1:{server.port}"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "metrics_address" in ended.stderr
