"""The end of a process that is ours alone: with its exit code and in time, whatever hangs."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from fastws.log_writer import flush_logs

# From the end of the drain to the end of the process.
END_SECONDS: Final = 3.0
# On top of drain_timeout, whatever the drain takes. A supervisor kills after five.
LATE_SECONDS: Final = 4.0
# The same from a second signal on.
HURRY_SECONDS: Final = 2.0
# Of that, for the log lines that wait.
LOG_SECONDS: Final = 1.0
HURRIED_LOG_SECONDS: Final = 0.2
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class OwnProcess:
    """Ends this process with `os._exit` at the last of its atexit functions, or when its time is up.

    The interpreter would wait without a limit: for threads of hooks, for a `flush` of stdout into a pipe that nobody
    reads, for the resolver of libuv. Atexit functions of the application come first, as long as there is time.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._ends_at = float("inf")
        self._is_hurried = False
        self._changed = threading.Condition()
        # Registered before the application's modules are imported, so that it comes after theirs.
        atexit.register(self._leave)
        threading.Thread(target=self._watch, name="fastws-ending", daemon=True).start()

    def end_within(self, seconds: float) -> None:
        """End in `seconds` at the latest; of several such words the strictest holds."""
        with self._changed:
            self._ends_at = min(self._ends_at, time.monotonic() + seconds)
            self._changed.notify()

    def hurry(self) -> None:
        """A second signal: leave at once."""
        self._is_hurried = True
        self.end_within(HURRY_SECONDS)

    def finish(self, code: int) -> None:
        """Nothing is left to do but to end with `code`."""
        self._code = code
        self.end_within(END_SECONDS)
        flush_logs(HURRIED_LOG_SECONDS if self._is_hurried else LOG_SECONDS)

    def _watch(self) -> None:
        with self._changed:
            while (seconds := self._ends_at - time.monotonic()) > 0:
                self._changed.wait(None if self._ends_at == float("inf") else seconds)
        if flush_logs(0):
            _log_what_runs_still()
            flush_logs(HURRIED_LOG_SECONDS)
        os._exit(self._code or 0)

    def _leave(self) -> None:
        if self._code is None:
            return
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                # What the interpreter ends with where what was printed cannot be written.
                self._code = self._code or 120
        os._exit(self._code)


def _log_what_runs_still() -> None:
    import structlog  # known already where there is a log; other commands start without it

    log = structlog.stdlib.get_logger("fastws.ending")
    threads = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
    log.error("not everything ended in time: the process ends without it", threads=threads)


_process: OwnProcess | None = None


def run_own_process(run: Callable[[], int]) -> int:
    """Run `run`, for which alone this process was started. Returns its exit code, with which the process ends."""
    global _process
    _process = OwnProcess()
    code = 1
    try:
        code = run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        _process.finish(code)
    return code


def end_within(seconds: float = END_SECONDS) -> None:
    """End this process in `seconds` at the latest, where it is our own."""
    if _process is not None:
        _process.end_within(seconds)


def hurry(number: int = 0, frame: FrameType | None = None) -> None:
    """End this process at once, where it is our own; also as the handler of a signal."""
    if _process is not None:
        _process.hurry()


def hurry_on_signals() -> None:
    """On the way out one more signal only hurries: Python gives it its default meaning there, exit code and all."""
    for number in _STOP_SIGNALS:
        signal.signal(number, hurry)
