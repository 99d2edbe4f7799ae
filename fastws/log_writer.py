"""Writes log lines in a thread of its own: whoever logs never waits, however slow or broken the reader is."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from typing import Final

MAX_WAITING_LINES: Final = 10_000
# How soon a descriptor that takes nothing (a full disk, a closed pipe) is tried again where nothing new is logged.
RETRY_SECONDS: Final = 1.0
_NEWLINE: Final = b"\n"


class LogWriter:
    """Renders records and writes them to `descriptor`, in their order. Each method may be called from any thread.

    What finds `max_waiting` records waiting, or cannot be written, is lost and counted; a line says how many as soon
    as lines get through again. The thread holds no lock while it writes and is a daemon: where it is stuck in
    `write`, neither `put` nor `flush` nor the end of the process waits for it.
    """

    def __init__(
        self,
        descriptor: int,
        formatter: logging.Formatter,
        *,
        encoding: str = "utf-8",
        max_waiting: int = MAX_WAITING_LINES,
    ) -> None:
        self._descriptor = descriptor
        self._formatter = formatter
        self._encoding = encoding
        self._max_waiting = max_waiting
        self._waiting: deque[logging.LogRecord] = deque()
        # Its lock is reentrant: a finalizer or a signal may log in the middle of `put`.
        self._changed = threading.Condition()
        # Lines that found too many waiting, and lines that could not be written, of which nothing has been said yet.
        self._refused = 0
        self._unwritten = 0
        self._is_writing = False
        self._is_failing = False
        # The last line was cut off in the middle.
        self._is_torn = False
        threading.Thread(target=self._run, name="fastws-log", daemon=True).start()

    def put(self, record: logging.LogRecord) -> None:
        """Have `record` written after those before it. Never waits, never raises."""
        with self._changed:
            if len(self._waiting) >= self._max_waiting:
                self._refused += 1
                return
            self._wait_with_notice()
            self._waiting.append(record)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written, for `seconds` at most. Whether it was."""
        with self._changed:
            # What could not be written is tried once more.
            self._is_failing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_idle, seconds)
            return self._is_idle and not self._unwritten

    @property
    def _is_idle(self) -> bool:
        return not (self._is_writing or self._is_anything_due)

    @property
    def _is_anything_due(self) -> bool:
        return bool(self._waiting or self._refused or (self._unwritten and not self._is_failing))

    def _wait_with_notice(self) -> None:
        """Say of the lines that were refused, in the place where they are missing."""
        if self._refused:
            self._waiting.append(_notice(self._refused))
            self._refused = 0

    # --- the thread

    def _run(self) -> None:
        while True:
            lines = self._next()
            is_written = True
            while lines and (is_written := self._write(lines[0])):
                del lines[0]
            with self._changed:
                self._is_failing = not is_written
                self._unwritten += sum(_lines_of(record) for record in lines)
                self._is_writing = False
                self._changed.notify_all()

    def _next(self) -> list[logging.LogRecord]:
        """Wait for what is to be written now: a record, and before it how many could not be, where some could not."""
        with self._changed:
            while not self._is_anything_due:
                if not self._changed.wait(RETRY_SECONDS if self._unwritten else None):
                    self._is_failing = False
            lines = [_notice(self._unwritten)] if self._unwritten else []
            self._unwritten = 0
            if not self._waiting:
                self._wait_with_notice()
            if self._waiting:
                lines.append(self._waiting.popleft())
            self._is_writing = True
            return lines

    def _write(self, record: logging.LogRecord) -> bool:
        """Whether the whole line was taken."""
        data = (_NEWLINE if self._is_torn else b"") + self._render(record) + _NEWLINE
        written = 0
        while written < len(data):
            try:
                written += os.write(self._descriptor, data[written:])
            except BlockingIOError:
                # Somebody who shares it has made it non-blocking.
                _wait_until_writable(self._descriptor)
            except OSError:
                # A full disk, a pipe that nobody reads, a terminal that is gone: the caller counts the line.
                self._is_torn = self._is_torn if written == 0 else not data[:written].endswith(_NEWLINE)
                return False
        self._is_torn = False
        return True

    def _render(self, record: logging.LogRecord) -> bytes:
        try:
            return self._formatter.format(record).encode(self._encoding, "backslashreplace")
        except Exception as error:  # noqa: BLE001 said in its place
            text = f"a log line could not be rendered: {type(error).__name__} in {record.pathname}:{record.lineno}"
            notice = logging.LogRecord("fastws.logs", logging.ERROR, __file__, 0, text, None, None)
            return self._formatter.format(notice).encode(self._encoding, "backslashreplace")


class LogHandler(logging.Handler):
    """Hands records to `writer`; nothing in a record changes until that renders it."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self.writer.put(record)


def flush_logs(seconds: float) -> bool:
    """Wait until all lines are written, for `seconds` at most. Whether this process has a log of ours at all."""
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, LogHandler)]
    for handler in handlers:
        handler.writer.flush(seconds)
    return bool(handlers)


def _wait_until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def _notice(lost: int) -> logging.LogRecord:
    """The line that stands where lines are missing."""
    text = f"{lost} log lines dropped: whoever reads the log was too slow, or they could not be written"
    record = logging.LogRecord("fastws.logs", logging.WARNING, __file__, 0, text, None, None)
    record.lost_lines = lost
    return record


def _lines_of(record: logging.LogRecord) -> int:
    """How many lines are lost where `record` is."""
    lost: int = getattr(record, "lost_lines", 1)
    return lost
