"""A few seconds of every locust user against our server, and against one that loses a message."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.server import ServerConnection, serve

from fastws.config import Config
from fastws.server.server import Server

LOCUSTFILE = Path(__file__).resolve().parents[2] / "loadtest" / "locustfile.py"
KEY = "a-broadcast-key-of-the-tests"


async def _locust(url: str, *arguments: str) -> tuple[int | None, dict[str, dict[str, Any]], str]:
    """The exit code, the statistics by "TYPE name", and what was said on stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--headless", "--json"),
        *("--only-summary", "--stop-timeout", "0", *arguments),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    entries = json.loads(out)
    return process.returncode, {f"{entry['method']} {entry['name']}": entry for entry in entries}, err.decode()


async def test_every_user_works_and_nothing_is_lost() -> None:
    config = Config(port=0, broadcast_key=(KEY,))
    async with Server(config) as server:
        code, statistics, said = await _locust(
            server.url,
            *("-u", "92", "-r", "92", "-t", "6", "--channels", "2", "--publish-every", "0.1"),
            *("--storm-every", "2", "--broadcast-key", KEY),
        )
    assert code == 0, said
    assert "Traceback" not in said
    assert sum(entry["num_failures"] for entry in statistics.values()) == 0
    assert statistics["DELIVERY load"]["num_requests"] > 500
    for name in (
        "WS connect",
        "WS subscribe",
        "WS unsubscribe",
        "WS send",
        "POST /broadcast",
        "STORM back and subscribed",
    ):
        assert statistics[name]["num_requests"] > 0, name


async def _lossy(client: ServerConnection) -> None:
    """A broadcast server that keeps every third message from everybody."""
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


async def test_lost_messages_are_failures_in_the_statistics() -> None:
    async with serve(_lossy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        code, statistics, _ = await _locust(
            f"ws://127.0.0.1:{port}/",
            *("-u", "10", "-r", "10", "-t", "4", "--channels", "1", "--publish-every", "0.1"),
            *("Subscriber", "ChattyPublisher"),
        )
    assert code == 1
    assert statistics["DELIVERY missing"]["num_failures"] > 0
    assert "DELIVERY repeated" not in statistics


async def test_msgpack_users_hear_and_a_larger_payload_is_sent() -> None:
    async with Server(Config(port=0)) as server:
        code, statistics, said = await _locust(
            server.url,
            *("-u", "26", "-r", "26", "-t", "4", "--channels", "1", "--publish-every", "0.1"),
            *("--ws-format", "msgpack", "--payload", "5000", "Subscriber", "ChattyPublisher"),
        )
        received = server.counters.delivered_bytes
    assert code == 0, said
    deliveries = statistics["DELIVERY load"]["num_requests"]
    assert deliveries > 0
    assert received > 5000 * deliveries


async def _telling(client: ServerConnection) -> None:
    """Tells whoever subscribes of a gap, and of a lag, before a number that does not follow; then cuts it off."""
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


async def test_notices_are_counted_and_what_they_tell_is_no_failure() -> None:
    async with serve(_telling, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        _, statistics, said = await _locust(
            f"ws://127.0.0.1:{port}/",
            *("-u", "22", "-r", "22", "-t", "3", "--slow-seconds", "0.2", "Subscriber", "SlowConsumer"),
        )
    assert "Traceback" not in said
    assert "DELIVERY missing" not in statistics
    lags, gaps = statistics["NOTICE lag"], statistics["NOTICE gap"]
    assert lags["num_requests"] == gaps["num_requests"] > 1
    assert lags["total_content_length"] == 7 * lags["num_requests"]
    assert statistics["NOTICE slow consumer cut off"]["num_requests"] > 0
    assert statistics["WS lost connection"]["num_failures"] > 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_web_interface_shows_latency_of_users_in_two_processes() -> None:
    web, master = str(_free_port()), str(_free_port())
    async with Server(Config(port=0)) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", server.url, "--autostart"),
            *("--web-host", "127.0.0.1", "--web-port", web, "--master-bind-port", master, "--master-port", master),
            *("--processes", "2", "-u", "26", "-r", "26", "-t", "4", "--publish-every", "0.1", "--stop-timeout", "0"),
            *("Subscriber", "ChattyPublisher"),
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        assert process.stderr is not None
        try:
            async for line in process.stderr:
                if b"leaving web ui running" in line:
                    break
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{web}") as browser:
                report = (await browser.get("/stats/requests")).json()
                page = (await browser.get("/")).text
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its users' processes outlive it otherwise, and keep its pipes
            await process.communicate()
    rows = {f"{row['method']} {row['name']}": row for row in report["stats"]}
    assert rows["DELIVERY load"]["num_requests"] > 0
    assert rows["DELIVERY load"]["response_time_percentile_0.95"] > 0
    assert len(report["workers"]) == 2
    for field in ("channels", "payload", "publish_every", "storm_every"):
        assert field in page, "not to be set in the web interface"
