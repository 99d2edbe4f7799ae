"""Workers that are forked from an image: what they share, what they do not, and what becomes of the image."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fastws.workers import forking
from fastws.workers.child import Child
from fastws.workers.image import Images
from tests.hostile.server_process import PATIENCE_SECONDS
from tests.workers.conftest import Supervise
from tests.workers.supervised import READY, Supervised, ask, command_of
from tests.workers.test_rolling import roll

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

# Measured: 12 MB; 28 MB as a new program.
MAX_PRIVATE_BYTES = 16e6
PR_SET_CHILD_SUBREAPER = 36
HOOK = """
import os, pathlib, random, sys
if sys.orig_argv[-1] == "fastws.workers.worker":
    (pathlib.Path({place!r}) / str(os.getpid())).write_text(str(random.random()))
def allows(user, action, channel, claims):
    return True
"""


def image_of(server: Supervised) -> psutil.Process:
    (image,) = (child for child in server.watched.children() if "fastws.workers.image" in command_of(child))
    return image


def private_bytes(process: psutil.Process) -> int:
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))


def test_workers_are_children_of_the_supervisor_and_share_the_memory_of_the_image(supervise: Supervise) -> None:
    server = supervise()
    assert {worker.ppid() for worker in server.workers()} == {server.pid}
    assert max(map(private_bytes, server.workers())) < MAX_PRIVATE_BYTES


def test_workers_share_no_random_state(supervise: Supervise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "seen"
    place.mkdir()
    (tmp_path / "hook_of_this_test.py").write_text(HOOK.format(place=str(place)))
    monkeypatch.chdir(tmp_path)
    supervise("--authorizer", "hook_of_this_test:allows", workers=3)
    seen = {file.read_text() for file in place.iterdir()}
    assert len(seen) == 3


def test_a_crashed_worker_is_forked_from_the_same_image_and_a_roll_takes_a_fresh_one(supervise: Supervise) -> None:
    server = supervise()
    image = image_of(server)
    descriptors = image.num_fds()
    server.workers()[0].kill()
    server.wait_for(READY, 3)
    assert image_of(server) == image
    assert image.num_fds() == descriptors
    roll(server)
    assert image_of(server) != image
    assert not image.is_running()


def test_the_end_of_the_image_costs_no_worker(supervise: Supervise) -> None:
    server = supervise()
    image, before = image_of(server), server.pids()
    image.kill()
    server.wait_until(lambda: not image.is_running())
    assert ask(server.connect(), {"action": "ping"})["type"] == "pong"
    assert server.pids() == before
    server.workers()[0].kill()
    server.wait_for(READY, 3)
    assert image_of(server) != image
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.fixture
def images() -> Iterator[Images]:
    images = Images()
    yield images
    images.end()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_a_request_that_the_image_never_handles_ends_when_the_worker_is_overdue(images: Images) -> None:
    lifeline, other = os.pipe()
    child = Child(0, {"config": {}}, [], lifeline, "info", start=images.start)
    (pid,) = images.pids
    os.kill(pid, signal.SIGSTOP)
    child.signal(signal.SIGTERM)
    assert (child.pid, child.has_exited) == (0, False)
    assert child.kill_if_overdue(float("inf"))
    assert select.select([child.report], [], [], PATIENCE_SECONDS)[0]
    assert not child.read_report()
    assert child.has_exited
    assert child.process.returncode == 1
    child.close()
    os.close(lifeline)
    os.close(other)


def test_a_system_without_processes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fails)
    reading, writing = os.pipe()
    assert not forking._fork(writing)
    assert b'["not forked", "' in os.read(reading, 1000)
    os.close(reading)
    os.close(writing)
