"""A worker process as seen by the supervisor: starting it, reading its reports, stopping and killing it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from fastws.workers.image import ForkedProcess, Order, Start, spawn
from fastws.workers.reports import ERROR, NOT_FORKED, READY, STARTED

MAX_REPORT_BYTES: Final = 65_536


class Child:
    """Runs fastws.workers.worker with `order`; it reports through a pipe. `start` starts the process.

    The process inherits `sockets` and `lifeline`, the read end of a pipe that is never written to. When the supervisor
    exits for any reason, the pipe reaches its end and the worker stops. Raises OSError if no process can be started.
    """

    def __init__(
        self, slot: int, order: Order, sockets: Sequence[int], lifeline: int, log_level: str, *, start: Start = spawn
    ) -> None:
        self.slot = slot
        self.log_level = log_level
        self.started_at = time.monotonic()
        self.is_ready = False
        self.is_leaving = False
        # Why it could not start, as a message for the operator.
        self.error: str | None = None
        # Why the system could not start its process, which it may be able to do later.
        self.not_forked: str | None = None
        # Deadline (monotonic seconds) by which it must be ready or must have exited; then it is killed.
        self.kill_at = float("inf")
        self._unread = b""
        self.report, write_end = os.pipe()
        os.set_blocking(self.report, False)
        try:
            self.process = start(order, sockets, lifeline, write_end)
        except OSError:
            os.close(self.report)
            raise
        finally:
            os.close(write_end)

    @property
    def pid(self) -> int:
        """The process id; 0 until the process has been forked."""
        return self.process.pid

    @property
    def has_exited(self) -> bool:
        """Whether the process has exited. Also collects its exit status."""
        return self.process.poll() is not None

    def read_report(self) -> bool:
        """Read pending reports into `is_ready` and `error`. Returns False if there is nothing to read."""
        try:
            data = os.read(self.report, MAX_REPORT_BYTES)
        except BlockingIOError:
            # The worker has exited, but a process that it started keeps the pipe open.
            return False
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            kind, text = json.loads(line)
            if kind == READY:
                self.is_ready = True
                self.kill_at = float("inf")
            elif kind == ERROR:
                self.error = text
            elif kind == NOT_FORKED:
                self.not_forked = text
            elif kind == STARTED and isinstance(self.process, ForkedProcess):
                self.process.started(int(text))
        if not data and not self.pid and isinstance(self.process, ForkedProcess):
            self.process.not_started()
        return bool(data)

    def stop(self, number: signal.Signals, seconds: float) -> None:
        """Send SIGTERM (drain) or SIGUSR2 (hand over to a new worker); the worker is killed after `seconds`."""
        self.is_leaving = True
        self.kill_at = time.monotonic() + seconds
        self.signal(number if self.is_ready else signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        if not self.has_exited:
            self.process.send_signal(number)

    def kill_if_overdue(self, now: float) -> bool:
        """Kill the process if its deadline has passed. Returns whether it was killed."""
        if now < self.kill_at or self.has_exited:
            return False
        self.kill_at = float("inf")
        self.process.kill()
        return True

    def close(self) -> None:
        """Close the report pipe. The process must have exited."""
        os.close(self.report)
