"""A few seconds of every locust user against our server, and against one that loses a message."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections import defaultdict
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from fastws.config import Config
from fastws.server import Server

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
    out, err = await process.communicate()
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
