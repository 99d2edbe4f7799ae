"""Every Locust user against our server, and against one that loses messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve

from fastws.config import Config
from fastws.server.server import Server
from tests.ports import free_port
from tests.serving import PATIENCE_SECONDS

LOCUSTFILE = Path(__file__).resolve().parents[2] / "loadtest" / "locustfile.py"
KEY = "a-broadcast-key-of-the-tests"

Rows = dict[str, dict[str, Any]]


class Locust:
    """Locust with its web interface, which tells how far it is. `log` holds what it said on stderr.

    Its output goes to files: the users' processes would keep pipes open if they outlived the one that started them.
    """

    def __init__(self, process: Process, folder: Path, web: httpx.AsyncClient) -> None:
        self._process = process
        self._folder = folder
        self.web = web

    @property
    def log(self) -> str:
        return (self._folder / "stderr").read_text()

    async def report(self, is_enough: Callable[[Rows], bool]) -> dict[str, Any]:
        """The statistics of the web interface, as soon as they are enough."""
        report: dict[str, Any] = {}
        try:
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                while not (report and is_enough(_by_name(report["stats"]))):
                    assert self._process.returncode is None, self.log
                    await asyncio.sleep(0.05)
                    with contextlib.suppress(httpx.TransportError):
                        report = (await self.web.get("/stats/requests")).json()
        except TimeoutError:
            pytest.fail(f"not enough in the statistics: {report}\n{self.log}")
        return report

    async def end(self) -> tuple[int, Rows]:
        """Ends the load. Returns the exit code and the statistics."""
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            code = await self._process.wait()
        return code, _by_name(json.loads((self._folder / "stdout").read_text()))


def _by_name(entries: list[dict[str, Any]]) -> Rows:
    """By "TYPE name"."""
    return defaultdict(_no_requests, {f"{entry['method']} {entry['name']}": entry for entry in entries})


def _no_requests() -> dict[str, Any]:
    return {"num_requests": 0, "num_failures": 0}


@contextlib.asynccontextmanager
async def _locust(folder: Path, url: str, *arguments: str) -> AsyncIterator[Locust]:
    web_port = str(free_port())
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--autostart", "--json"),
            *("--web-host", "127.0.0.1", "--web-port", web_port, "--stop-timeout", "0", *arguments),
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{web_port}", timeout=PATIENCE_SECONDS) as web:
            yield Locust(process, folder, web)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def test_every_user_works_and_nothing_is_lost(tmp_path: Path) -> None:
    names = ("WS connect", "WS subscribe", "WS unsubscribe", "WS send", "POST /broadcast", "STORM back and subscribed")
    arguments = ("-u", "92", "-r", "92", "--channels", "2", "--publish-every", "0.1", "--storm-every", "1")
    config = Config(port=0, broadcast_key=(KEY,))
    async with Server(config) as server, _locust(tmp_path, server.url, *arguments, "--broadcast-key", KEY) as locust:
        await locust.report(
            lambda rows: (
                rows["DELIVERY load"]["num_requests"] > 500 and all(rows[name]["num_requests"] for name in names)
            )
        )
        code, statistics = await locust.end()
    assert code == 0, locust.log
    assert "Traceback" not in locust.log
    assert sum(entry["num_failures"] for entry in statistics.values()) == 0


async def _lossy(client: ServerConnection) -> None:
    """A broadcast server that drops every third message."""
    await client.send('{"type":"connection_id","connection_id":"x"}')
    async for text in client:
        message = json.loads(text)
        reply = {"type": "ok", "id": message["id"]}
        if message["action"] == "subscribe":
            _members[message["channel"]].add(client)
        elif message["data"]["number"] % 3:
            delivery = json.dumps({key: message[key] for key in ("channel", "event", "data")})
            await asyncio.gather(*(m.send(delivery) for m in _members[message["channel"]]), return_exceptions=True)
        await client.send(json.dumps(reply))


_members: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def test_lost_messages_are_failures_in_the_statistics(tmp_path: Path) -> None:
    arguments = ("-u", "10", "-r", "10", "--channels", "1", "--publish-every", "0.1", "Subscriber", "ChattyPublisher")
    async with serve(_lossy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with _locust(tmp_path, f"ws://127.0.0.1:{port}/", *arguments) as locust:
            await locust.report(lambda rows: rows["DELIVERY missing"]["num_failures"] > 0)
            code, statistics = await locust.end()
    assert code == 1
    assert statistics["DELIVERY missing"]["num_failures"] > 0
    assert "DELIVERY repeated" not in statistics


async def test_msgpack_users_receive_and_a_larger_payload_is_sent(tmp_path: Path) -> None:
    arguments = ("-u", "26", "-r", "26", "--channels", "1", "--publish-every", "0.1", "--payload", "5000")
    users = ("--ws-format", "msgpack", "Subscriber", "ChattyPublisher")
    async with Server(Config(port=0)) as server, _locust(tmp_path, server.url, *arguments, *users) as locust:
        await locust.report(lambda rows: rows["DELIVERY load"]["num_requests"] > 0)
        code, statistics = await locust.end()
        received = server.counters.delivered_bytes
    assert code == 0, locust.log
    assert received > 5000 * statistics["DELIVERY load"]["num_requests"]


async def _telling(client: ServerConnection) -> None:
    """Sends a gap and a lag notice, each before a number that does not follow, and then closes the connection."""
    await client.send('{"type":"connection_id","connection_id":"x"}')
    subscribe = json.loads(await client.recv())
    if "id" in subscribe:
        await client.send(json.dumps({"type": "subscription_succeeded", "id": subscribe["id"]}))
    for message in (
        _delivery(1),
        {"type": "gap", "channel": subscribe["channel"]},
        _delivery(5),
        {"type": "lag", "channel": subscribe["channel"], "dropped": 7},
        _delivery(13),
    ):
        await client.send(json.dumps(message))
    await client.close(1013, "slow consumer")


def _delivery(number: int) -> dict[str, Any]:
    return {"event": "load", "data": {"publisher": "p", "number": number, "at": 0.0}}


async def test_notices_are_counted_and_excuse_what_is_missing(tmp_path: Path) -> None:
    arguments = ("-u", "22", "-r", "22", "--slow-seconds", "0.2", "Subscriber", "SlowConsumer")
    async with serve(_telling, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with _locust(tmp_path, f"ws://127.0.0.1:{port}/", *arguments) as locust:
            await locust.report(
                lambda rows: (
                    rows["NOTICE slow consumer cut off"]["num_requests"] > 0 and rows["NOTICE lag"]["num_requests"] > 1
                )
            )
            _, statistics = await locust.end()
    assert "Traceback" not in locust.log
    assert "DELIVERY missing" not in statistics
    lags, gaps = statistics["NOTICE lag"], statistics["NOTICE gap"]
    # The gap comes first: a user that is stopped may be between the two.
    assert 1 < lags["num_requests"] <= gaps["num_requests"] <= lags["num_requests"] + 22
    assert lags["total_content_length"] == 7 * lags["num_requests"]
    assert statistics["WS lost connection"]["num_failures"] > 0


async def test_web_interface_shows_latency_of_users_in_two_processes(tmp_path: Path) -> None:
    master = str(free_port())
    processes = ("--processes", "2", "--master-bind-port", master, "--master-port", master)
    arguments = ("-u", "26", "-r", "26", "--publish-every", "0.1", "Subscriber", "ChattyPublisher")
    async with Server(Config(port=0)) as server, _locust(tmp_path, server.url, *processes, *arguments) as locust:
        report = await locust.report(lambda rows: rows["DELIVERY load"].get("response_time_percentile_0.95", 0) > 0)
        page = (await locust.web.get("/")).text
    assert len(report["workers"]) == 2
    for field in ("channels", "payload", "publish_every", "storm_every"):
        assert field in page, "not to be set in the web interface"
