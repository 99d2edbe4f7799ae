"""A worker process as its supervisor sees it: how it is started, what it reports, when it must be gone."""

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


class Child:
    """`python -m fastws.workers.worker`. It reads its order from stdin and reports through a pipe, in lines of JSON.

    It inherits `sockets` and `lifeline`, the reading end of a pipe that nobody writes to: when the supervisor is gone,
    however it went, the pipe ends, and with it the worker. Raises OSError where no process can be started.
    """

    def __init__(
        self, slot: int, order: Mapping[str, object], sockets: Sequence[int], lifeline: int, log_level: str
    ) -> None:
        self.slot = slot
        self.log_level = log_level
        self.started_at = time.monotonic()
        self.is_ready = False
        self.is_leaving = False
        # What it could not start for, in the words for the operator.
        self.error: str | None = None
        # When it is killed (monotonic seconds): it must be ready by then, or gone.
        self.kill_at = float("inf")
        self._heard = b""
        self.report, writing_end = os.pipe()
        os.set_blocking(self.report, False)
        with _file_of(json.dumps({**order, "sockets": sockets, "lifeline": lifeline, "report": writing_end})) as stdin:
            try:
                self.process = subprocess.Popen(
                    # -P: whatever lies in this directory is no module of ours; what we can import it can, by our path.
                    [sys.executable, "-P", "-m", "fastws.workers.worker"],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                    stdin=stdin,
                    pass_fds=(*sockets, lifeline, writing_end),
                    start_new_session=True,  # the terminal's Ctrl-C reaches the supervisor alone
                )
            except OSError:
                os.close(self.report)
                raise
            finally:
                os.close(writing_end)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended; it is no zombie then."""
        return self.process.poll() is not None

    def read_report(self) -> bool:
        """Take what it reports: `is_ready`, `error`. False: there is nothing, or nothing more."""
        try:
            data = os.read(self.report, MAX_REPORT_BYTES)
        except BlockingIOError:
            # It is gone, and a process that it left behind holds the pipe.
            return False
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            kind, text = json.loads(line)
            if kind == READY:
                self.is_ready = True
                self.kill_at = float("inf")
            elif kind == ERROR:
                self.error = text
        return bool(data)

    def stop(self, number: signal.Signals, seconds: float) -> None:
        """Tell it to go (SIGTERM: with the server, SIGUSR2: another has its place), in `seconds` at the latest."""
        self.is_leaving = True
        self.kill_at = time.monotonic() + seconds
        self.signal(number if self.is_ready else signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        if not self.is_gone:
            self.process.send_signal(number)

    def kill_if_late(self, now: float) -> bool:
        """Kill it where it is neither ready nor gone in time. Whether it was."""
        if now < self.kill_at or self.is_gone:
            return False
        self.kill_at = float("inf")
        self.process.kill()
        return True

    def close(self) -> None:
        """Forget what it reports; the process must be gone."""
        os.close(self.report)


def _file_of(text: str) -> BinaryIO:
    """A file without a name that reads as `text`: unlike a pipe it is never full, and never without a reader."""
    memory = getattr(os, "memfd_create", None)
    file = tempfile.TemporaryFile() if memory is None else os.fdopen(memory("order"), "w+b")  # noqa: SIM115 the caller closes it
    file.write(text.encode())
    file.seek(0)
    return file
