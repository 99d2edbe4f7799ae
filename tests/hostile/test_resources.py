"""Rows I3, I6 and I8 to I10: too few descriptors, jumping clocks, unread logs, invalid settings."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hostile.conftest import Connect, Run, Watch
from tests.hostile.raw_client import RawClient, connected, masked
from tests.hostile.server_process import ServerProcess
from tests.redis_server import RedisServer

DESCRIPTORS = 64


def test_i3_beyond_the_file_limit_clients_are_refused_and_those_inside_are_served(run: Run, connect: Connect) -> None:
    server = run("--log-format", "json", descriptors=DESCRIPTORS)
    inside = connect(server.port)
    inside.say({"action": "subscribe", "channel": "a"})
    crowd = [RawClient(server.port) for _ in range(10)]
    statuses = [client.upgrade() for client in crowd]
    while statuses[-1] == 101:
        crowd.append(RawClient(server.port))
        statuses.append(crowd[-1].upgrade())
    assert statuses[-1] == 503
    assert "Retry-After" in crowd[-1].head
    assert 15 < statuses.count(101) < DESCRIPTORS
    # Full, and still told to whom it may concern.
    assert server.get("/ready")[0] == 503
    assert server.get("/health")[0] == 200
    assert inside.say({"action": "send", "channel": "a", "event": "e"})
    for client in crowd:
        client.close()
    server.wait_until(lambda: server.metric("fastws_connections") == 1)
    connect(server.port)
    assert server.get("/ready")[0] == 200
    assert server.log_lines("full: connections are refused")


def test_i3_two_hundred_silent_sockets_neither_spin_nor_stick(run: Run, connect: Connect) -> None:
    server = run("--log-format", "json", "--handshake-timeout", "60", descriptors=DESCRIPTORS)
    inside = connect(server.port)
    held = [RawClient(server.port) for _ in range(200)]
    begun, cpu = time.monotonic(), server.cpu_seconds()
    while time.monotonic() - begun < 2:
        assert inside.say({"action": "ping"})["type"] == "pong"
        time.sleep(0.05)
    assert server.cpu_seconds() - cpu < 0.2 * (time.monotonic() - begun)
    assert server.descriptors() < DESCRIPTORS
    for client in held:
        client.close()
    server.wait_until(lambda: _is_served(server))
    lines = server.log_lines("full: connections are refused")
    assert 1 <= len(lines) <= time.monotonic() - begun + 2
    server.assert_clean_log()


def _is_served(server: ServerProcess) -> bool:
    with RawClient(server.port) as client:
        return client.upgrade() == 101


def test_i3_redis_comes_back_though_clients_have_taken_every_descriptor_they_may(
    run: Run, own_redis_server: RedisServer
) -> None:
    server = run("--redis-url", own_redis_server.url, descriptors=DESCRIPTORS)
    server.wait_until(lambda: server.get("/ready")[0] == 200)
    clients = []
    while (client := RawClient(server.port)).upgrade() == 101:
        clients.append(client)
    client.close()
    clients[0].receive_json()
    own_redis_server.kill()
    server.wait_until(lambda: server.metric("fastws_broker_up") == 0)
    own_redis_server.start()
    server.wait_until(lambda: server.metric("fastws_broker_up") == 1)
    clients.pop().close()
    for client in clients:
        client.close()


def test_a_low_soft_limit_is_raised_to_the_hard_one(run: Run) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        server = run()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert server.metric("process_max_fds") == hard


WALL_CLOCK_THAT_JUMPS = """
import sys, time, runpy
real, offset = time.time, [0.0]
time.time = lambda: real() + offset[0]
import signal
def jump(seconds):
    def handler(number, frame):
        offset[0] += seconds
    return handler
signal.signal(signal.SIGUSR2, jump(3600.0))
signal.signal(signal.SIGWINCH, jump(-3600.0))
sys.argv = ["fastws", *sys.argv[1:]]
runpy.run_module("fastws", run_name="__main__", alter_sys=True)
"""


def test_i6_a_stepped_wall_clock_closes_no_client_and_blocks_nothing(tmp_path: Path, connect: Connect) -> None:
    script = tmp_path / "jumping.py"
    script.write_text(WALL_CLOCK_THAT_JUMPS)
    flags = ("--ping-interval", "0.5", "--idle-timeout", "60", "--flush-interval", "20")
    with ServerProcess(*flags, program=(str(script),)) as server, Quiet(server) as clients:
        for jump in (signal.SIGUSR2, signal.SIGWINCH, signal.SIGWINCH):
            server.signal(jump)
            begun = time.monotonic()
            while time.monotonic() - begun < 1.5:
                assert clients.are_served()
                time.sleep(0.05)
        assert server.metric("fastws_connections_closed_total") == 0
        assert server.metric("fastws_rate_limited_total") == 0
        server.assert_clean_log()


class Quiet:
    """A subscriber and a sender that answer the server's pings."""

    def __init__(self, server: ServerProcess) -> None:
        self.subscriber = connected(server.port)
        self.subscriber.say({"action": "subscribe", "channel": "a"})
        self.sender = connected(server.port)

    def are_served(self) -> bool:
        self.sender.say({"action": "send", "channel": "a", "event": "e"})
        heard = self.subscriber.receive_json()
        self.subscriber.send(masked(10))  # a sign of life
        return heard["event"] == "e"

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        self.subscriber.close()
        self.sender.close()


def flood_of_log_lines(server: ServerProcess, count: int) -> None:
    """Each of these connections is worth two lines of log."""
    for _ in range(count):
        with RawClient(server.port) as client:
            client.upgrade("/" + "x" * 200)
        with RawClient(server.port) as client:
            client.upgrade()


@pytest.mark.parametrize("stream", ["a pipe that nobody reads", "a pipe that is closed", "a full disk"])
def test_i8_a_log_that_cannot_be_written_stops_nothing(stream: str, watch: Watch) -> None:
    reader, writer = os.pipe()
    if stream == "a full disk":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    with ServerProcess("--log-level", "debug", stderr=writer) as server:
        os.close(writer)
        if stream == "a pipe that is closed":
            os.close(reader)
        canary = watch(server)
        flood_of_log_lines(server, 600)
        canary.check()
        server.signal(signal.SIGTERM)
        # What nobody has read by now must not keep the process from ending.
        assert server.wait() == 0
    with contextlib.suppress(OSError):
        os.close(reader)


def test_i8_a_closed_stdout_stops_nothing(run: Run) -> None:
    server = run()
    assert server.process.stdout is not None
    server.process.stdout.close()
    assert server.get("/health")[0] == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def start_with(*flags: str, toml: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastws", "serve", *flags]
    if toml is not None:
        command += ["--config", str(toml)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("flags", "toml", "word"),
    [
        (("--port", "0", "--no-such-setting", "1"), None, "no-such-setting"),
        ((), "no_such_setting = 1", "no_such_setting"),
        ((), "port = 'eighty'", "port"),
        ((), "port = [", "TOML"),
        (("--port", "0", "--max-connections", "-1"), None, "max-connections"),
        (("--port", "70000"), None, "port"),
        (("--port", "0", "--idle-timeout", "nan"), None, "idle-timeout"),
        (("--port", "0", "--workers", "2"), None, "workers"),
        (("--port", "0", "--host", "no-such-host.invalid"), None, "no-such-host.invalid"),
        (("--port", "0", "--jwt-public-key", "/nowhere/key.pem"), None, "jwt_public_key"),
        (("--port", "0", "--mount", "/x=no-such-dialect"), None, "no-such-dialect"),
    ],
)
def test_i9_a_bad_setting_stops_the_start_with_one_clear_line(
    tmp_path: Path, flags: tuple[str, ...], toml: str | None, word: str
) -> None:
    path = None
    if toml is not None:
        path = tmp_path / "fastws.toml"
        path.write_text(toml)
    ended = start_with(*flags, toml=path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert word in ended.stderr


def test_i9_a_port_in_use_stops_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = start_with("--port", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "in use" in ended.stderr


def test_i10_a_whole_life_in_development_mode_warns_of_nothing(own_redis_server: RedisServer) -> None:
    flags = ("--redis-url", own_redis_server.url, "--drain-timeout", "0.5", "--compression", "on")
    development = {"interpreter": ("-X", "dev", "-W", "error"), "environment": {"PYTHONASYNCIODEBUG": "1"}}
    with ServerProcess(*flags, **development) as server:  # type: ignore[arg-type]
        server.wait_until(lambda: server.get("/ready")[0] == 200)
        with Quiet(server) as clients:
            for _ in range(20):
                assert clients.are_served()
            for path in ("/metrics", "/", "/connections", "/health", "/api/v1/ws/stats"):
                server.get(path)
            server.publish("a", "x")
            own_redis_server.kill()
            server.wait_until(lambda: server.get("/ready")[0] == 503)
            own_redis_server.start()
            server.wait_until(lambda: server.get("/ready")[0] == 200)
            for hostile in (b"\x81\x01a", masked(1, b"\xff"), masked(1, b"{}"), masked(8, b"\x03\xe8")):
                with connected(server.port) as client:
                    client.send(hostile)
                    if hostile != masked(1, b"{}"):
                        client.read_to_the_end()
            with RawClient(server.port) as client:
                client.send(b"GET / HTTP/1.1\r\n")
                client.reset()
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
        server.assert_clean_log()
        assert "Warning" not in server.log()
