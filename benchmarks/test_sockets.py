"""Over real sockets: deliveries per second to 1000 subscribers, and memory per idle subscriber, with bounds."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time

from pytest_benchmark.fixture import BenchmarkFixture

IDLE_CONNECTIONS = 4000
MAX_BYTES_PER_CONNECTION = 2500


def serve() -> tuple[subprocess.Popen[bytes], str]:
    """Start a server; returns the process and its URL once the port is open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ("--port", str(port), "--message-rate", "0", "--log-level", "error")
    process = subprocess.Popen([sys.executable, "-m", "fastws", "serve", *flags], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process, f"ws://127.0.0.1:{port}/"
        time.sleep(0.05)
    raise RuntimeError(f"the server exited with code {process.returncode} instead of starting")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def bench(url: str, pid: int, *options: str) -> dict[str, float]:
    command = [sys.executable, "-m", "fastws", "bench", "--json", "--pid", str(pid), *options, url]
    result: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return result


def test_deliveries_to_a_thousand_subscribers(benchmark: BenchmarkFixture) -> None:
    process, url = serve()
    try:
        result = benchmark.pedantic(
            bench, (url, process.pid, "--connections", "1000", "--window", "64", "--duration", "2"), rounds=1
        )
    finally:
        stop(process)
    benchmark.extra_info.update({"deliveries_per_second": result["deliveries_per_second"]})
    assert result["missing"] == 0


def test_memory_of_an_idle_subscriber(benchmark: BenchmarkFixture) -> None:
    process, url = serve()

    def rss() -> int:
        with open(f"/proc/{process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    def measure() -> float:
        before = rss()
        mode = ("--mode", "idle", "--connections", str(IDLE_CONNECTIONS), "--duration", "1")
        result = bench(url, process.pid, *mode)
        return (result["server_rss_bytes"] - before) / IDLE_CONNECTIONS

    try:
        per_connection = benchmark.pedantic(measure, rounds=1)
    finally:
        stop(process)
    benchmark.extra_info["bytes_per_connection"] = per_connection
    assert per_connection < MAX_BYTES_PER_CONNECTION
