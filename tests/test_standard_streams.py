"""Processes that are started with stdin, stdout or stderr closed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.redis_server import RedisServer

PATIENCE_SECONDS = 60.0
NAMES = ("stdin", "stdout", "stderr")
SERVE = ("-m", "fastws", "serve", "--drain-timeout", "1")
SOME = [(0,), (1,), (2,), (0, 2), (0, 1, 2)]


@contextmanager
def started(closed: tuple[int, ...], *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python WORDS…` with the descriptors `closed` closed. It is killed where the test has not ended it."""

    def close() -> None:
        for number in closed:
            os.close(number)

    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=close,
        cwd=Path(__file__).parents[1],
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_answer(process: subprocess.Popen[bytes], port: int, path: str = "/health") -> None:
    """Until the server answers a GET with 200."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.02)  # between two looks at a process of its own
        finally:
            connection.close()


@pytest.mark.parametrize("closed", SOME, ids=lambda closed: "+".join(NAMES[number] for number in closed))
def test_a_server_serves_and_stops_in_good_order(closed: tuple[int, ...]) -> None:
    port = free_port()
    with started(closed, *SERVE, "--port", str(port)) as process:
        wait_for_answer(process, port)
        with socket.create_connection(("127.0.0.1", port)):
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0


def test_what_is_closed_is_open_in_the_workers_too(redis_server: RedisServer) -> None:
    port = free_port()
    flags = ("--port", str(port), "--workers", "2", "--redis-url", redis_server.url)
    with started((0, 1, 2), *SERVE, *flags) as process:
        wait_for_answer(process, port)
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(workers) == 3, "two workers and the image that they were forked from"
        for pid in (str(process.pid), *workers):
            # Of a worker, 0 is what it was told to do.
            for number in (1, 2) if pid in workers else (0, 1, 2):
                assert os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_the_embedded_redis_starts_and_ends() -> None:
    port = free_port()
    with started((0, 1, 2), *SERVE, "--port", str(port), "--redis-url", "embedded") as process:
        wait_for_answer(process, port, "/ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("token", "ann"), 2),
        (("publish", "news", "hello", "1", "--url", "http://127.0.0.1:1"), 1),
        (("listen", "ws://127.0.0.1:1/"), 1),
        (("check-config",), 0),
        (("completion", "bash"), 0),
        (("serve", "--port", "x"), 2),
        (("--help",), 0),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
def test_each_command_ends_with_the_exit_code_that_it_has_otherwise(words: tuple[str, ...], code: int) -> None:
    codes = []
    for closed in ((), (0, 1, 2)):
        with started(closed, "-m", "fastws", *words) as process:
            codes.append(process.wait(PATIENCE_SECONDS))
    assert codes == [code, code]


EMBEDDING = """
import asyncio, os, sys
from fastws import Config, Server

async def main():
    os.close(0), os.close(1)
    async with Server(Config(port=0)) as server:
        names = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1)]
    os.write(2, repr(names).encode())

with asyncio.Runner() as runner:
    runner.run(main())
"""


def test_an_application_that_embeds_the_server_prints_to_no_client() -> None:
    done = subprocess.run([sys.executable, "-c", EMBEDDING], capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, b"['/dev/null', '/dev/null']")
