"""A server as a process: its loop, its start while name servers are silent, and that a signal ends it then."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastws.server.process import Loop, run
from tests.hostile.server_process import ServerProcess

PATIENCE_SECONDS = 60.0

# As `python -m fastws`, with a name server that answers for no name but those of this machine.
SILENT = """
import socket, sys, threading
from fastws.cli import main

getaddrinfo = socket.getaddrinfo

def silent(host, port, family=0, type=0, proto=0, flags=0):
    name = host.decode() if isinstance(host, bytes) else host or ""
    if name.endswith(".example") and not flags & socket.AI_NUMERICHOST:
        print("asked for", name, file=sys.stderr, flush=True)
        threading.Event().wait()
    return getaddrinfo(host, port, family, type, proto, flags)

socket.getaddrinfo = silent
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("flags", "is_asked_at_the_start"),
    [
        (("--redis-url", "redis://redis.example:6379"), True),
        (("--jwt-jwks-url", "https://issuer.example/jwks", "--jwt-algorithms", "RS256"), True),
        (("--event-hook", "http://application.example/hook"), False),
    ],
    ids=["redis", "jwks", "hook"],
)
def test_while_a_name_server_is_silent_it_serves_and_ends(flags: tuple[str, ...], is_asked_at_the_start: bool) -> None:
    has_keys = "--jwt-jwks-url" not in flags
    with ServerProcess("--drain-timeout", "1", *flags, program=("-c", SILENT), has_keys=has_keys) as server:
        assert server.get("/health")[0] == 200
        if is_asked_at_the_start:
            assert "asked for" in server.log()
        else:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(
                    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                server.wait_until(lambda: "asked for application.example" in server.log())
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0
        assert "forced exit" not in server.log()


@contextmanager
def starting(*flags: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SILENT, "serve", "--port", "0", *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_signal_ends_a_start_that_waits_for_its_own_name() -> None:
    with starting("--host", "here.example") as process:
        assert process.stderr is not None
        while "asked for here.example" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


async def serve_one(host: str) -> tuple[asyncio.Server, int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(answer, host, 0)
    port: int = server.sockets[0].getsockname()[1]
    return server, port


def test_the_loop_connects_to_names_and_tries_each_of_their_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    getaddrinfo = socket.getaddrinfo

    def two_addresses(host: str, port: int, *rest: int, **more: int) -> list[object]:
        if host != "two.example":
            return list(getaddrinfo(host, port, *rest, **more))
        if more.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{end}", port)) for end in (3, 2)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        server, port = await serve_one("127.0.0.2")
        async with server:
            monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
            for host in ("two.example", "127.0.0.2"):
                reader, writer = await asyncio.open_connection(host, port)
                assert await reader.read() == b"hello"
                writer.close()
            with pytest.raises(OSError, match="refused"):
                await asyncio.open_connection("127.0.0.3", port)
            assert [found[4][0] for found in await loop.getaddrinfo("two.example", 1)] == ["127.0.0.3", "127.0.0.2"]
            plain = socket.create_connection(("127.0.0.2", port))
            plain.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=plain)
            assert await reader.read() == b"hello"
            writer.close()

    run(main())
