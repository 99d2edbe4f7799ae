"""Whole runs against our server, and against servers that lose and repeat messages."""

from __future__ import annotations

import json
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from fastws.bench.load import Load, LoadFailed
from fastws.bench.plan import Plan
from fastws.bench.result import Result
from fastws.server.server import Server
from tests.bench.conftest import KEY

SHORT = {"connections": 20, "warm_seconds": 0.05, "seconds": 0.3, "drain_seconds": 3.0}


async def _run(url: str, **fields: object) -> Result:
    async with Load(Plan(urls=(url,), **{**SHORT, **fields})) as load:  # type: ignore[arg-type]
        await load.connect()
        return await load.run()


@pytest.mark.parametrize(
    "fields",
    [
        {"window": 8},
        {"window": 1},
        {"rate": 100.0},
        {"rate": 100.0, "format": "msgpack", "channels": 4},
        {"window": 8, "processes": 2, "channels": 3},
        {"rate": 50.0, "key": KEY, "processes": 2},
        {"rate": 50.0, "key": KEY, "dialect": "jobs"},
    ],
    ids=str,
)
async def test_every_receiver_gets_everything_and_latencies_are_taken(
    server: Server, fields: dict[str, object]
) -> None:
    result = await _run(server.url, **fields)
    assert result.is_complete, result.to_text()
    assert result.ready == 20
    assert result.deliveries > 0
    assert result.timed > 0
    assert 0 < result.p50_us <= result.p99_us <= result.max_us


@pytest.mark.parametrize("dialect", ["rooms", "workspaces"])
async def test_dialects_that_need_a_token_are_run_with_one(server: Server, dialect: str) -> None:
    token = server.tokens.sign("u", workspaces=["bench-0", "bench-1"], channels=["**"], ttl_seconds=600)
    result = await _run(server.url, dialect=dialect, token=token, key=KEY, rate=50.0, channels=2)
    assert result.is_complete, result.to_text()
    assert result.deliveries > 0


@pytest.mark.parametrize("fields", [{"mode": "echo", "dialect": "echo"}, {"mode": "echo"}, {"mode": "ingest"}], ids=str)
async def test_messages_come_back_to_their_sender(server: Server, fields: dict[str, object]) -> None:
    result = await _run(server.url, window=4, **fields)
    assert result.is_complete, result.to_text()
    assert result.deliveries > 0


async def test_idle_mode_only_holds_connections(server: Server) -> None:
    result = await _run(server.url, mode="idle")
    assert (result.ready, result.messages) == (20, 0)
    assert result.is_complete


async def test_slow_readers_do_not_count_and_are_closed_by_the_server(server: Server) -> None:
    result = await _run(server.url, slow_fraction=0.2, window=64, payload_bytes=50_000, seconds=2.0)
    assert result.missing == result.repeated == 0
    assert result.slow_closed == 4
    assert result.is_complete


async def test_clients_that_are_disconnected_reconnect_and_receive_again(server: Server) -> None:
    async with Load(Plan(urls=(server.url,), reconnect=True, rate=50.0, **SHORT)) as load:  # type: ignore[arg-type]
        await load.connect()
        assert (await load.run()).is_complete
        back = await load.disconnect_all()
        assert (back.ready, back.away) == (20, 20)
        assert 0 < back.p50_seconds <= back.max_seconds <= back.seconds
        result = await load.run()
    assert result.is_complete, result.to_text()
    assert (result.ready, result.reconnects) == (20, 20)


@pytest.mark.parametrize(
    "fields", [{"rate": 50.0}, {"mode": "echo"}, {"mode": "idle"}, {"rate": 50.0, "slow_fraction": 0.2}], ids=str
)
async def test_connections_are_closed_with_1000_at_the_end(server: Server, fields: dict[str, object]) -> None:
    await _run(server.url, **fields)
    publishers = "rate" in fields
    assert dict(server.counters.closed) == {(1000, "client"): 20 + publishers}


async def test_refused_connections_are_reported() -> None:
    async with Load(Plan(urls=("ws://127.0.0.1:9/",), connections=2)) as load:
        with pytest.raises(LoadFailed, match="refused"):
            await load.connect()


class FaultyServer:
    """A broadcast server by `websockets` that loses or repeats message 3 for its first client."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
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
            times = {"lose": 0, "repeat": 2}[self.fault] if number == 3 else 1
            for position, other in enumerate(self.clients):
                for _ in range(times if position == 0 else 1):
                    await other.send(json.dumps({"channel": message["channel"], "data": message["data"]}))


@pytest.mark.parametrize(("fault", "missing", "repeated"), [("lose", 1, 0), ("repeat", 0, 1)])
async def test_one_message_lost_or_repeated_at_one_of_the_receivers_is_found(
    fault: str, missing: int, repeated: int
) -> None:
    async with serve(FaultyServer(fault), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await _run(f"ws://127.0.0.1:{port}/", rate=50.0)
    assert (result.missing, result.repeated) == (missing, repeated)
    assert not result.is_complete


async def _command(*arguments: str) -> tuple[int | None, str, str]:
    process = await create_subprocess_exec(
        sys.executable, "-m", "fastws", "bench", *arguments, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_command_prints_one_line_of_json_and_no_progress_off_a_terminal(server: Server) -> None:
    code, out, err = await _command(
        server.url, "--connections", "5", "--rate", "50", "--warm", "0.05", "--duration", "0.2", "--json"
    )
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out)["ok"] is True


async def test_command_exits_with_1_on_loss() -> None:
    async with serve(FaultyServer("lose"), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        code, out, _ = await _command(
            *(f"ws://127.0.0.1:{port}/", "--connections", "5", "--rate", "50"),
            *("--warm", "0.05", "--duration", "0.3", "--drain", "0.5"),
        )
    assert code == 1
    assert "1 missing" in out


async def test_command_speaks_the_format_that_the_url_asks_for(server: Server) -> None:
    short = ("--connections", "2", "--rate", "50", "--warm", "0.05", "--duration", "0.2", "--json")
    code, out, _ = await _command(f"{server.url}?format=msgpack", *short)
    assert (code, json.loads(out)["ok"]) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "URL"),
        (["http://x/"], "URL"),
        (["--plan", "--rate", "1e9"], "--plan"),
        (["ws://127.0.0.1:9/", "--dialect", "rooms"], "--key"),
        (["ws://127.0.0.1:9/", "--dialect", "echo"], "--mode echo"),
        (["ws://127.0.0.1:9/", "--mode", "ingest", "--rate", "5"], "--rate"),
    ],
)
async def test_invalid_options_are_one_line_and_exit_code_2(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # without the servers of other tests
    code, out, err = await _command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


async def test_plan_needs_no_server() -> None:
    code, out, err = await _command("--plan", "--connections", "100000", "--rate", "200", "--fan-out", "5000", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["deliveries_per_second"] == 1_000_000


async def test_slow_readers_that_are_not_closed_get_everything_when_they_read(server: Server) -> None:
    result = await _run(server.url, slow_fraction=0.2, rate=100.0, drain_seconds=20.0)
    assert (result.slow_whole, result.slow_closed, result.slow_missing) == (4, 0, 0)
    assert result.deliveries > 0
    assert result.is_complete


async def test_missing_message_is_counted_in_one_run_only() -> None:
    async with serve(FaultyServer("lose"), "127.0.0.1", 0) as lossy:
        port = lossy.sockets[0].getsockname()[1]
        fields = {**SHORT, "drain_seconds": 0.5}
        async with Load(Plan(urls=(f"ws://127.0.0.1:{port}/",), rate=50.0, **fields)) as load:  # type: ignore[arg-type]
            await load.connect()
            first = await load.run(messages=4)
            second = await load.run(messages=4)
    assert (first.missing, second.missing, second.repeated) == (1, 0, 0)
