"""A worker process as seen by the supervisor: starting it, reading its reports, stopping and killing it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

READY: Final = "ready"
ERROR: Final = "error"
MAX_REPORT_BYTES: Final = 65_536
_PROGRAM: Final = (
    "import json, sys\n"
    "order = json.load(sys.stdin)\n"
    "sys.path[:] = order['path']\n"
    "from fastws.quick_imports import quick_imports\n"
    "with quick_imports():\n"
    "    from fastws.workers.worker import run\n"
    "sys.exit(run(order))"
)


class Child:
    """Runs fastws.workers.worker, which gets `order` on stdin and reports through a pipe (JSON lines).

    It has the sys.path of this process, but not by PYTHONPATH, which processes that a hook starts would inherit.

    The process inherits `sockets` and `lifeline`, the read end of a pipe that is never written to. When the supervisor
    exits for any reason, the pipe reaches its end and the worker stops. Raises OSError if no process can be started.
    """

    def __init__(
        self, slot: int, order: Mapping[str, object], sockets: Sequence[int], lifeline: int, log_level: str
    ) -> None:
        self.slot = slot
        self.log_level = log_level
        self.started_at = time.monotonic()
        self.is_ready = False
        self.is_leaving = False
        # Why it could not start, as a message for the operator.
        self.error: str | None = None
        # Deadline (monotonic seconds) by which it must be ready or must have exited; then it is killed.
        self.kill_at = float("inf")
        self._unread = b""
        self.report, write_end = os.pipe()
        os.set_blocking(self.report, False)
        try:
            self.process = _start(order, sockets, lifeline, write_end)
        except OSError:
            os.close(self.report)
            raise
        finally:
            os.close(write_end)

    @property
    def pid(self) -> int:
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


def _start(order: Mapping[str, object], sockets: Sequence[int], lifeline: int, report: int) -> subprocess.Popen[bytes]:
    """Start the worker, which reads its order from stdin and inherits the descriptors."""
    path = list(map(os.path.abspath, sys.path))
    order_on_stdin = {**order, "path": path, "sockets": sockets, "lifeline": lifeline, "report": report}
    with _file_of(json.dumps(order_on_stdin)) as stdin:
        return subprocess.Popen(  # noqa: S603 our own program
            # -P keeps the working directory out of sys.path. The last argument is for `ps` and `pgrep`.
            [sys.executable, "-P", "-c", _PROGRAM, "fastws.workers.worker"],
            stdin=stdin,
            pass_fds=(*sockets, lifeline, report),
            start_new_session=True,  # Ctrl-C on a terminal must reach only the supervisor
        )


def _file_of(text: str) -> BinaryIO:
    """Return an anonymous file that contains `text`: unlike a pipe it is never full and never loses its reader."""
    memory = getattr(os, "memfd_create", None)
    file = tempfile.TemporaryFile() if memory is None else os.fdopen(memory("order"), "w+b")  # noqa: SIM115 the caller closes it
    file.write(text.encode())
    file.seek(0)
    return file
