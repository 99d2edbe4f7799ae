"""One worker process as its supervisor sees it: reports, signals, and its end."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastws.workers.child import Child
from fastws.workers.image import Images, Start, spawn

PATIENCE_SECONDS = 30
PR_SET_CHILD_SUBREAPER = 36
StartChild = Callable[..., Child]


@pytest.fixture
def lifeline() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection that nothing is written to: the first is for the worker."""
    worker_end, supervisor_end = socket.socketpair()
    with worker_end, supervisor_end:
        yield worker_end, supervisor_end


@pytest.fixture(params=["forked", "spawned"])
def start_process(request: pytest.FixtureRequest) -> Iterator[Start]:
    """How the process of a worker is started."""
    if request.param == "spawned":
        yield spawn
        return
    images = Images()
    if not images.is_forking:
        pytest.skip("workers are forked on Linux only")
    yield images.start
    images.end()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def start(tmp_path: Path, lifeline: tuple[socket.socket, socket.socket], start_process: Start) -> Iterator[StartChild]:
    """Starts workers: `start(port=70000)` with these settings. They are killed at the end of the test."""
    children: list[Child] = []

    def started(**settings: object) -> Child:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            order = {
                "config": {"port": listener.getsockname()[1], "drain_timeout": 0.0, **settings},
                "slot": 3,
                "generated": [],
                "folder": str(tmp_path),
                "log_level": "error",
            }
            children.append(Child(3, order, [listener.fileno()], lifeline[0].fileno(), "error", start=start_process))
        return children[-1]

    yield started
    for child in children:
        if not child.has_exited:
            child.process.kill()
            child.process.wait()
        child.close()


def wait_for_report(child: Child) -> bool:
    """Read reports until there is another one than the process id, or the end of the pipe."""
    while not child.pid:
        assert select.select([child.report], [], [], PATIENCE_SECONDS)[0], "no report"
        if not child.read_report():
            return False
        if child.is_ready or child.error:
            return True
    assert select.select([child.report], [], [], PATIENCE_SECONDS)[0], "no report"
    return child.read_report()


def exit_code(child: Child) -> int:
    while child.report in select.select([child.report], [], [], PATIENCE_SECONDS)[0] and child.read_report():
        continue
    return child.process.wait()


def test_a_worker_reports_when_it_is_ready_and_drains_at_sigterm(start: StartChild) -> None:
    child = start()
    child.kill_at = child.started_at + PATIENCE_SECONDS
    assert (child.is_ready, child.is_leaving, child.pid) == (False, False, child.process.pid)
    assert wait_for_report(child)
    assert child.is_ready
    assert child.kill_at == float("inf")
    child.stop(signal.SIGTERM, PATIENCE_SECONDS)
    assert child.is_leaving
    assert exit_code(child) == 0
    assert child.error is None
    # The pipe is at its end.
    assert not wait_for_report(child)


def test_a_worker_that_cannot_start_reports_why_and_exits_with_2(start: StartChild) -> None:
    child = start(ping_interval=-1.0)
    assert wait_for_report(child)
    assert not child.is_ready
    assert child.error is not None
    assert child.error.startswith("ping_interval: must be ")
    assert exit_code(child) == 2


def test_a_worker_that_is_not_ready_is_not_asked_to_hand_over(start: StartChild) -> None:
    """Before its handlers are set, SIGUSR2 would kill it with a code that looks like a crash."""
    child = start()
    child.stop(signal.SIGUSR2, PATIENCE_SECONDS)
    assert exit_code(child) in (0, -signal.SIGTERM)


def test_a_worker_ends_when_its_supervisor_is_gone(
    start: StartChild, lifeline: tuple[socket.socket, socket.socket]
) -> None:
    child = start()
    wait_for_report(child)
    lifeline[1].close()
    assert exit_code(child) == 0


def test_a_worker_that_hangs_is_killed_after_its_deadline_and_once(start: StartChild) -> None:
    child = start()
    wait_for_report(child)
    child.signal(signal.SIGSTOP)
    child.stop(signal.SIGTERM, 5.0)
    assert not child.kill_if_overdue(child.kill_at - 0.1)
    assert child.kill_if_overdue(child.kill_at)
    assert exit_code(child) == -signal.SIGKILL
    assert not child.kill_if_overdue(float("inf"))
    child.signal(signal.SIGTERM)  # does nothing: another process may have the number by now


def test_a_report_may_arrive_in_pieces(start: StartChild) -> None:
    child = start()
    wait_for_report(child)
    child.is_ready = False
    os.close(child.report)
    child.report, write_end = os.pipe()
    os.set_blocking(child.report, False)
    os.write(write_end, b'["read')
    assert child.read_report()
    assert not child.is_ready
    os.write(write_end, b'y",""]\n["error","why"]\n')
    assert child.read_report()
    assert (child.is_ready, child.error) == (True, "why")
    # Another process still has the pipe: there is nothing to read, and no end.
    assert not child.read_report()
    os.close(write_end)
