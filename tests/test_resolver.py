"""Looking up names, also of a name server that is silent."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import subprocess
import sys
import threading

import pytest

from fastws import resolver
from fastws.resolver import Found, lookup, resolve
from tests.name_server import FOUND, NameServer

PATIENCE_SECONDS = 30.0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", None, "0.0.0.0"])
def test_what_needs_no_name_server_is_found_at_once(host: str | None) -> None:
    threads = threading.active_count()
    answer = lookup(host, 80)
    assert answer.done()
    assert threading.active_count() == threads
    assert answer.result() == [Found(*found) for found in socket.getaddrinfo(host, 80, 0, socket.SOCK_STREAM)]


async def test_a_name_is_found_in_a_thread_that_nobody_waits_for(name_server: NameServer) -> None:
    task = asyncio.create_task(resolve("a.example", 80))
    await asyncio.sleep(0)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "fastws-lookup 'a.example'"]
    assert thread.daemon
    assert not task.done()
    name_server.speak.set()
    assert await task == FOUND


def test_a_name_is_looked_up_once_at_a_time(name_server: NameServer) -> None:
    answers = [lookup("a.example", 80) for _ in range(5)]
    other = lookup("b.example", 80)
    name_server.speak.set()
    assert [answer.result(PATIENCE_SECONDS) for answer in (*answers, other)] == [FOUND] * 6
    assert sorted(name_server.asked) == ["a.example", "b.example"]
    assert lookup("a.example", 80).result(PATIENCE_SECONDS) == FOUND
    assert len(name_server.asked) == 3


async def test_who_stops_waiting_leaves_nothing_behind_but_the_thread(name_server: NameServer) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(resolve("a.example", 80), 0.01)
    [waiting] = resolver._pending.values()
    assert waiting == []
    again = asyncio.create_task(resolve("a.example", 80))
    await asyncio.sleep(0)
    name_server.speak.set()
    assert await again == FOUND
    assert name_server.asked == ["a.example"]
    assert resolver._pending == {}


def test_one_that_has_stopped_waiting_keeps_the_answer_from_nobody() -> None:
    answers = [resolver.Answer(), resolver.Answer()]
    answers[0].cancel()
    resolver._set_outcome(answers, FOUND)
    assert answers[1].result(0) == FOUND


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such name"), "no such name"),
        (UnicodeError("label too long"), "not a host name"),
    ],
)
def test_everybody_who_waits_hears_of_an_error(name_server: NameServer, answer: Exception, error: str) -> None:
    name_server.answer = answer
    answers = [lookup("a.example", 80) for _ in range(2)]
    name_server.speak.set()
    for one in answers:
        with pytest.raises(socket.gaierror, match=error):
            one.result(PATIENCE_SECONDS)


def test_without_a_thread_it_is_an_error_and_the_next_time_it_is_tried_again(
    name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="can't start new thread") as failed:
            lookup("a.example", 80).result(0)
    assert failed.value.errno == errno.EAGAIN
    name_server.speak.set()
    assert lookup("a.example", 80).result(PATIENCE_SECONDS) == FOUND


PROGRAM = """
import asyncio, socket, threading
from fastws.resolver import resolve

getaddrinfo = socket.getaddrinfo

def silent(host, port, *rest, flags=0, **more):
    if flags or not host.endswith(".example"):
        return getaddrinfo(host, port, *rest, flags=flags, **more)
    threading.Event().wait()

socket.getaddrinfo = silent

async def main():
    try:
        await asyncio.wait_for(resolve("a.example", 80), 0.01)
    except TimeoutError:
        print("time is up")

asyncio.run(main())
"""


def test_a_process_ends_though_a_lookup_does_not() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"time is up\n"


LISTENING = """
import socket, sys, threading
from fastws.cli import listen, main

getaddrinfo = socket.getaddrinfo

def silent(host, port, family=0, type=0, proto=0, flags=0):
    if host == "server.example" and not flags & socket.AI_NUMERICHOST:
        print("asked", flush=True)
        threading.Event().wait()
    return getaddrinfo(host, port, family, type, proto, flags)

socket.getaddrinfo = silent
listen.CONNECT_SECONDS = 600.0  # longer than a busy machine takes to send the signal
sys.exit(main())
"""


def test_an_interrupt_ends_a_client_that_waits_for_a_name() -> None:
    command = [sys.executable, "-c", LISTENING, "listen", "ws://server.example/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 130
        finally:
            process.kill()
