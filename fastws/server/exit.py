"""Exit of a process that fastws started: with the right code and within a time limit, even if something hangs."""

from __future__ import annotations

import atexit
import contextlib
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

# From the end of the drain to the exit.
END_SECONDS: Final = 3.0
# Added to drain_timeout. The supervisor kills after 5 s.
LATE_SECONDS: Final = 4.0
# Time limit after a second signal.
HURRY_SECONDS: Final = 2.0
# Part of the limit that is reserved for queued log lines.
LOG_SECONDS: Final = 1.0
HURRIED_LOG_SECONDS: Final = 0.2
STDERR: Final = 2
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class OwnProcess:
    """Ends this process with `os._exit`, in the last of its atexit functions or when the time is up.

    The interpreter would wait without a limit: for threads of hooks, for a flush of stdout to a pipe that is not read,
    for libuv's resolver. Atexit functions of the application run first, as long as there is time.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._ends_at = float("inf")
        self._is_hurried = False
        self._changed = threading.Condition()
        # Registered before the application is imported, so that it runs after the application's functions.
        atexit.register(self._leave)
        threading.Thread(target=self._watch, name="fastws-ending", daemon=True).start()

    def end_within(self, seconds: float) -> None:
        """Exit after `seconds` at the latest. The earliest of several limits applies."""
        with self._changed:
            self._ends_at = min(self._ends_at, time.monotonic() + seconds)
            self._changed.notify()

    def hurry(self) -> None:
        """Exit at once, after a second signal."""
        self._is_hurried = True
        self.end_within(HURRY_SECONDS)

    def finish(self, code: int) -> None:
        """Exit with `code`, because the main function has returned."""
        self._code = code
        self.end_within(END_SECONDS)
        flush_logs(HURRIED_LOG_SECONDS if self._is_hurried else LOG_SECONDS)

    def _watch(self) -> None:
        with self._changed:
            while (seconds := self._ends_at - time.monotonic()) > 0:
                self._changed.wait(None if self._ends_at == float("inf") else seconds)
        if flush_logs(0):
            _log_running_threads()
            flush_logs(HURRIED_LOG_SECONDS)
        os._exit(self._code or 0)

    def _leave(self) -> None:
        if self._code is None:
            return
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                self._code = self._code or 1
            except OSError as error:
                self._code = self._code or 1
                with contextlib.suppress(OSError):
                    os.write(STDERR, f"fastws: cannot write to stdout: {error.strerror}\n".encode())
            except ValueError:
                # The interpreter's exit code if stdout or stderr is closed.
                self._code = self._code or 120
        os._exit(self._code)


def _log_running_threads() -> None:
    import structlog  # imported late: commands that do not log start faster without it

    log = structlog.stdlib.get_logger("fastws.ending")
    threads = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
    log.error("forced exit: threads are still running", threads=threads)


_process: OwnProcess | None = None


def run_own_process(run: Callable[[], int]) -> int:
    """Call `run`, the main function of this process. Returns its exit code, with which the process exits."""
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
    """Exit after `seconds` at the latest, if fastws started this process (`run_own_process`)."""
    if _process is not None:
        _process.end_within(seconds)


def hurry(number: int = 0, frame: FrameType | None = None) -> None:
    """Exit at once, if fastws started this process. Also a signal handler."""
    if _process is not None:
        _process.hurry()


def hurry_on_signals() -> None:
    """Make further signals only hurry the exit: the default handlers would change the exit code."""
    for number in _STOP_SIGNALS:
        signal.signal(number, hurry)
