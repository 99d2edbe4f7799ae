"""Over real sockets: deliveries a second to 1000 subscribers, and the memory of an idle one. Counts are asserted."""

from __future__ import annotations

import json
import subprocess
import sys

from pytest_benchmark.fixture import BenchmarkFixture

IDLE_CONNECTIONS = 4000
MAX_BYTES_PER_CONNECTION = 2500


def serve() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "fastws", "serve", "--port", "0", "--message-rate", "0", "--log-level", "error"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[3]


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate()


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
