"""The run for very many connections, with few: all phases over two workers, and servers that miss targets."""

from __future__ import annotations

import json
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

HIGH_COUNT = Path(__file__).resolve().parents[2] / "loadtest" / "high_count.py"


async def _high_count(folder: Path, *arguments: str) -> tuple[int | None, str, str, str]:
    """Exit code, what was printed, what was said on stderr, and the table."""
    table = folder / "high_count.md"
    process = await create_subprocess_exec(
        sys.executable, str(HIGH_COUNT), "--output", str(table), *arguments, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode(), table.read_text() if table.exists() else ""


async def test_every_phase_is_run_over_two_workers(tmp_path: Path) -> None:
    code, out, err, table = await _high_count(
        tmp_path,
        *("--connections", "60", "--workers", "2", "--idle-seconds", "0.5", "--seconds", "1", "--rate", "20"),
        *("--serve-seconds", "5", "--memory-mb", "2000", "--json"),
    )
    assert (code, err) == (0, ""), out
    phases: dict[str, dict[str, Any]] = json.loads(out)["phases"]
    assert list(phases) == [
        *("ramp", "idle", "one publication to all", "a worker killed", "all connections lost at once"),
        *("1 channels of 60", "10% do not read"),
    ]
    assert phases["ramp"]["connected"] == 60
    # The supervisor, the image that it forks from, and two workers.
    assert phases["idle"]["processes"] == 4
    assert len(phases["one publication to all"]["last_ms"]) == 3
    assert 0 < phases["a worker killed"]["away"] < 60
    assert phases["all connections lost at once"]["away"] == 60
    assert phases["10% do not read"]["slow"] == 6
    assert all(f"| {phase} |" in table for phase in phases)
    assert "Verdict: all targets met." in table


async def test_target_that_is_missed_is_named_and_code_1(tmp_path: Path) -> None:
    code, out, _, table = await _high_count(
        tmp_path,
        *("--connections", "5", "--workers", "1", "--phases", "idle", "--idle-seconds", "0.1", "--memory-mb", "1"),
    )
    assert code == 1
    assert "verdict: 1 missed (idle: " in out
    assert "**no**" in table


class Forgetful:
    """A broadcast server by `websockets` that keeps message number 1 from its first subscriber."""

    def __init__(self) -> None:
        self.clients: list[ServerConnection] = []

    async def __call__(self, client: ServerConnection) -> None:
        await client.send('{"type":"connection_id","connection_id":"x"}')
        async for text in client:
            message = json.loads(text)
            if message["action"] == "subscribe":
                self.clients.append(client)
                await client.send('{"type":"subscription_succeeded"}')
                continue
            number = int(message["data"][18:26], 16)
            for other in self.clients[1 if number == 1 else 0 :]:
                await other.send(json.dumps({"channel": message["channel"], "data": message["data"]}))


async def test_one_message_lost_at_one_of_all_is_found(tmp_path: Path) -> None:
    async with serve(Forgetful(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        code, out, _, _ = await _high_count(
            tmp_path,
            *(f"ws://127.0.0.1:{port}/", "--connections", "5", "--phases", "all"),
            *("--serve-seconds", "1", "--drain", "2"),
        )
    assert code == 1
    assert "one publication to all: 1 missing" in out


async def test_no_server_is_one_line_and_code_2(tmp_path: Path) -> None:
    code, out, err, table = await _high_count(
        tmp_path, "ws://127.0.0.1:9/", "--connections", "2", "--connect-timeout", "1"
    )
    assert (code, out, table, err.count("\n")) == (2, "", "", 1)
    assert "refused" in err
