"""fastws serve: what it prints, what it keeps to itself, how it stops."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import InvalidStatus

from tests.cli.conftest import ServeProcess, ServerProcess


async def client_of(server: ServerProcess, query: str = "") -> ClientConnection:
    client = await connect(server.url + query, proxy=None, compression=None)
    assert "connection_id" in str(await client.recv())
    return client


async def test_with_no_setting_at_all_it_prints_all_that_is_needed_to_try_it(serve_process: ServeProcess) -> None:
    server = await serve_process("--log-level", "debug")
    await server.has_said("curl ")
    text = "\n".join(server.lines)
    assert len(server.lines) <= 12
    for words in (
        "/production",
        "/api/v1/ws",
        "workspaces+jobs",
        "open to clients on this machine",
        "token required",
        "This machine: direct",
        "Web pages: only those on this machine; --allowed-origins",
        "Host names: only this machine's, such as localhost; --allowed-hosts",
    ):
        assert words in text
    [token] = re.findall(r"^  (ey\S+)$", text, re.MULTILINE)
    [key] = re.findall(r"Bearer (\S+)'", text)
    assert text.count(token) == 1
    client = await client_of(server, f"?token={token}")
    await client.send('{"action":"subscribe","channel":"news"}')
    await client.recv()
    http = server.url.replace("ws", "http")
    async with aiohttp.ClientSession() as session:
        body = {"channel": "news", "event": "hello", "data": "world"}
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(f"{http}broadcast", json=body, headers=headers) as answer:
            assert (await answer.json())["sent"] == 1
        async with session.get(f"{http}api/v1/ws/stats", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200
    assert "world" in str(await client.recv())
    await client.close()
    server.signal(signal.SIGTERM)
    assert await server.end() == 0
    logged = "\n".join(server.errors)
    assert "connection" in logged
    assert token not in logged
    assert key not in logged


async def test_pages_and_host_names_are_not_mentioned_where_they_are_set(serve_process: ServeProcess) -> None:
    server = await serve_process("--allowed-hosts", "live.example", "--allowed-origins", "https://app.example")
    await server.has_said("curl ")
    text = "\n".join(server.lines)
    assert "Web pages" not in text
    assert "Host names" not in text


async def test_configured_secrets_are_not_printed(serve_process: ServeProcess) -> None:
    secret, key = "a configured secret of 32 bytes or more", "a configured key"
    server = await serve_process(FASTWS_JWT_SECRET=secret, FASTWS_BROADCAST_KEY=key)
    server.signal(signal.SIGINT)
    assert await server.end() == 0
    said = "\n".join(server.lines + server.errors)
    assert secret not in said
    assert key not in said
    assert "temporary" not in said


async def test_it_listens_where_no_keys_are_and_says_who_cannot_come_in(serve_process: ServeProcess) -> None:
    server = await serve_process("--host", "0.0.0.0")
    await server.has_said("No broadcast_key set")
    text = "\n".join(server.lines)
    assert "No JWT key set" in text
    assert "No broadcast_key set" in text
    assert "allow_anonymous is off" in text
    async with aiohttp.ClientSession() as session, session.get(server.url.replace("ws", "http") + "health") as answer:
        assert answer.status == 200


async def test_behind_trusted_proxies_it_says_that_nobody_is_anonymous(serve_process: ServeProcess) -> None:
    server = await serve_process("--trusted-proxies", "127.0.0.1")
    await server.has_said("curl ")
    text = "\n".join(server.lines)
    assert "Clients that come through trusted_proxies need a token" in text
    assert "open to clients on this machine" not in text
    with pytest.raises(InvalidStatus, match="401"):
        await client_of(server)


async def test_where_allow_anonymous_is_set_it_says_no_more_of_this_machine(serve_process: ServeProcess) -> None:
    server = await serve_process("--allow-anonymous", "true")
    await server.has_said("curl ")
    text = "\n".join(server.lines)
    assert "open to everyone" in text
    assert "This machine" not in text


async def test_a_made_up_key_leaves_unsigned_management_calls_to_local_clients(serve_process: ServeProcess) -> None:
    for flags, status in (((), 410), (("--jwt-secret", "x" * 32), 403), (("--broadcast-key", "k"), 403)):
        server = await serve_process(*flags)
        url = server.url.replace("ws", "http") + "@connections/nobody"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == status, flags


async def test_sigterm_with_nobody_connected_ends_it_at_once(serve_process: ServeProcess) -> None:
    server = await serve_process("--drain-timeout", "30")
    begun = time.monotonic()
    server.signal(signal.SIGTERM)
    assert await server.end() == 0
    assert time.monotonic() - begun < 25


async def test_sigterm_drains_clients_with_1012_and_exits_0(serve_process: ServeProcess) -> None:
    server = await serve_process("--drain-timeout", "1")
    clients = [await client_of(server) for _ in range(5)]
    server.signal(signal.SIGTERM)
    for client in clients:
        await asyncio.wait_for(client.wait_closed(), 10)
    assert {client.close_code for client in clients} == {1012}
    assert await server.end() == 0


async def test_while_it_drains_it_is_not_ready_and_takes_nobody(serve_process: ServeProcess) -> None:
    server = await serve_process("--drain-timeout", "20")
    clients = [await client_of(server) for _ in range(2)]
    server.signal(signal.SIGTERM)
    await asyncio.wait_for(clients[0].wait_closed(), 10)
    async with aiohttp.ClientSession() as session, session.get(server.url.replace("ws", "http") + "ready") as answer:
        assert answer.status == 503
    with pytest.raises(Exception, match="503"):
        await client_of(server)
    begun = time.monotonic()
    server.signal(signal.SIGTERM)
    assert await server.end() == 0
    assert time.monotonic() - begun < 15
    await asyncio.wait_for(clients[1].wait_closed(), 10)


async def test_a_port_in_use_is_one_line_and_exit_code_2(serve_process: ServeProcess) -> None:
    server = await serve_process()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fastws", "serve", "--port", str(server.port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out) == (2, b"")
    assert err.count(b"\n") == 1
    assert f"127.0.0.1:{server.port}".encode() in err
    assert b"--port 0 picks a free port" in err
    assert f"process {server.process.pid} (".encode() in err


async def test_on_a_unix_socket(serve_process: ServeProcess, tmp_path: Path) -> None:
    path = tmp_path / "fastws.sock"
    server = await serve_process("--unix-socket", str(path))
    await server.has_said("curl ")
    assert server.lines[0].startswith(f"fastws listens on unix:{path}")
    text = "\n".join(server.lines)
    assert "http.sock" not in text
    assert "Clients that come through a Unix socket need a token" in text
    with pytest.raises(InvalidStatus, match="401"):
        await unix_connect(str(path), compression=None)
    [token] = re.findall(r"^  (ey\S+)$", text, re.MULTILINE)
    async with unix_connect(str(path), f"ws://localhost/?token={token}", compression=None) as client:
        assert "connection_id" in str(await client.recv())
    server.signal(signal.SIGTERM)
    assert await server.end() == 0
    assert not path.exists()


async def test_a_unix_socket_is_taken_over_from_the_dead_and_never_from_the_living(
    serve_process: ServeProcess, tmp_path: Path
) -> None:
    path = tmp_path / "fastws.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = await serve_process("--unix-socket", str(path), "--allow-anonymous", "true")
    await server.has_said("curl ")
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fastws", "serve", "--unix-socket", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await second.communicate()
    assert (second.returncode, out) == (2, b"")
    assert re.fullmatch(f"fastws: .*{re.escape(str(path))}.* in use.*\n", err.decode())
    async with unix_connect(str(path), compression=None) as client:
        assert "connection_id" in str(await client.recv())


async def test_logs_are_json_lines_where_there_is_no_terminal(serve_process: ServeProcess) -> None:
    server = await serve_process("--log-level", "info")
    client = await client_of(server)
    await client.close()
    server.signal(signal.SIGTERM)
    assert await server.end() == 0
    assert server.errors
    assert all(line.startswith("{") and '"timestamp"' in line for line in server.errors)


async def test_a_closed_stderr_stops_nobody(serve_process: ServeProcess) -> None:
    server = await serve_process("--log-level", "debug")
    pipe = server.process._transport.get_pipe_transport(2)  # type: ignore[attr-defined] # no public way to close it
    pipe.close()
    for _ in range(3):
        client = await client_of(server)
        await client.close()
    os.kill(server.process.pid, signal.SIGTERM)
    assert await server.end() == 0
