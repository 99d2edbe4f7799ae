"""One scrape over all workers: those that answer, are busy, have exited, or exit while they answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.telemetry import all_workers
from fastws.telemetry.all_workers import AllWorkerMetrics, WorkerMetrics
from fastws.telemetry.exited_workers import write_own
from fastws.telemetry.exposition import Exposition
from fastws.wire.request import Request

REQUEST = Request("GET", "/metrics", "1.1", {})
OTHER = os.getpid() + 1
TEXT = """# HELP fastws_deliveries_total Messages delivered to clients
# TYPE fastws_deliveries_total counter
fastws_deliveries_total 5.0
# HELP fastws_channels Channels with at least one subscriber
# TYPE fastws_channels gauge
fastws_channels 4.0
"""


class Broker:
    is_up = True
    nodes = ()
    history = None


@pytest.fixture
async def own(tmp_path: Path) -> WorkerMetrics:
    """This worker, which has delivered 2 messages."""
    counters, loop = Counters(), asyncio.get_running_loop()
    counters.deliveries = 2
    hub = Hub(counters=counters, schedule=loop.call_soon, schedule_later=loop.call_later)
    return WorkerMetrics(Exposition(counters, hub, Roster(), Broker()), tmp_path)


Answer = Callable[..., Awaitable[list[bytes]]]


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Answer]:
    """Start another worker, which answers every request with `answer`; nothing: it does not answer. Its requests."""
    servers = []
    stopped = asyncio.Event()

    async def start(answer: bytes, pid: int = OTHER) -> list[bytes]:
        requests: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if answer:
                writer.write(answer)
            else:
                await stopped.wait()
            writer.close()

        servers.append(await asyncio.start_unix_server(serve, str(tmp_path / f"{pid}.sock")))
        return requests

    yield start
    stopped.set()
    for server in servers:
        server.close()
        await server.wait_closed()


def response(body: str, length: int | None = None, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n{body}".encode()


async def scraped(own: WorkerMetrics, folder: Path) -> tuple[str, str]:
    """Deliveries and channels of a scrape."""
    answer = await AllWorkerMetrics(own, folder)(None, REQUEST)
    lines = dict(
        line.split(" ") for line in answer.body.decode().splitlines() if line.startswith("fastws_") and "{" not in line
    )
    return lines["fastws_deliveries_total"], lines["fastws_channels"]


async def test_metrics_of_workers_that_answer_are_added_up(own: WorkerMetrics, other: Answer, tmp_path: Path) -> None:
    await other(response(TEXT))
    assert await scraped(own, tmp_path) == ("7.0", "4.0")


async def test_of_a_worker_that_has_exited_the_saved_counters_are_left(own: WorkerMetrics, tmp_path: Path) -> None:
    (tmp_path / f"{OTHER}.sock").touch()
    write_own(tmp_path, OTHER, TEXT)
    assert await scraped(own, tmp_path) == ("7.0", "0.0")


async def test_of_a_worker_that_does_not_answer_all_saved_metrics_count(
    own: WorkerMetrics, other: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_workers, "SIBLING_SECONDS", 0.01)
    await other(b"")
    write_own(tmp_path, OTHER, TEXT)
    assert await scraped(own, tmp_path) == ("7.0", "4.0")


@pytest.mark.parametrize(
    "answer",
    [response(TEXT, length=len(TEXT) + 1), response(TEXT, status="500 Internal Server Error"), b"HTTP/1.1 200"],
)
async def test_incomplete_answers_and_errors_count_as_an_exit(
    own: WorkerMetrics, other: Answer, tmp_path: Path, answer: bytes
) -> None:
    await other(answer)
    write_own(tmp_path, OTHER, TEXT)
    assert await scraped(own, tmp_path) == ("7.0", "0.0")


async def test_requests_are_forwarded_to_the_other_workers_alone(
    own: WorkerMetrics, other: Answer, tmp_path: Path
) -> None:
    requests = await other(response(""))
    own_requests = await other(response(""), pid=os.getpid())
    await AllWorkerMetrics(own, tmp_path).forward(b"PUT /log-level HTTP/1.1\r\n\r\n")
    assert (requests, own_requests) == ([b"PUT /log-level HTTP/1.1\r\n\r\n"], [])


async def test_a_worker_without_its_folder_still_answers(own: WorkerMetrics, tmp_path: Path) -> None:
    tmp_path.rmdir()
    assert b"fastws_deliveries_total 2.0\n" in own(None, REQUEST).body
