"""Writes log lines in a background thread, so that logging never blocks, even if the reader is slow or broken."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from typing import Final

MAX_WAITING_LINES: Final = 10_000
# Interval between attempts to write to a failing descriptor (full disk, closed pipe) while nothing new is logged.
RETRY_SECONDS: Final = 1.0
_NEWLINE: Final = b"\n"


class LogWriter:
    """Renders records and writes them to `descriptor`, in order. All methods are thread-safe.

    Records are dropped and counted if `max_waiting` others are waiting or if writing fails. As soon as lines can be
    written again, a line reports how many were dropped. The thread is a daemon and holds no lock while it writes: if
    `write` blocks, then `put`, `flush` and the exit of the process do not.
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
        # Its lock is reentrant: a finalizer or a signal handler may log during `put`.
        self._changed = threading.Condition()
        # Lines dropped since the last notice: because too many were waiting, and because writing failed.
        self._dropped = 0
        self._unwritten = 0
        self._is_writing = False
        self._is_failing = False
        # The last line was written only in part.
        self._is_line_cut = False
        threading.Thread(target=self._run, name="fastws-log", daemon=True).start()

    def put(self, record: logging.LogRecord) -> None:
        """Queue `record` for writing. Never blocks, never raises."""
        with self._changed:
            if len(self._waiting) >= self._max_waiting:
                self._dropped += 1
                return
            self._queue_notice()
            self._waiting.append(record)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait up to `seconds` until all records are written. Return whether they were."""
        with self._changed:
            # Try once more to report the lines that could not be written.
            self._is_failing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_idle, seconds)
            return self._is_idle and not self._unwritten

    @property
    def _is_idle(self) -> bool:
        return not (self._is_writing or self._is_anything_due)

    @property
    def _is_anything_due(self) -> bool:
        return bool(self._waiting or self._dropped or (self._unwritten and not self._is_failing))

    def _queue_notice(self) -> None:
        """Queue a notice about dropped lines in the place where they are missing."""
        if self._dropped:
            self._waiting.append(_notice(self._dropped))
            self._dropped = 0

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
        """Wait for the next record. A notice comes before it if earlier lines could not be written."""
        with self._changed:
            while not self._is_anything_due:
                if not self._changed.wait(RETRY_SECONDS if self._unwritten else None):
                    self._is_failing = False
            lines = [_notice(self._unwritten)] if self._unwritten else []
            self._unwritten = 0
            if not self._waiting:
                self._queue_notice()
            if self._waiting:
                lines.append(self._waiting.popleft())
            self._is_writing = True
            return lines

    def _write(self, record: logging.LogRecord) -> bool:
        """Write one line. Return whether all of it was written."""
        data = (_NEWLINE if self._is_line_cut else b"") + self._render(record) + _NEWLINE
        written = 0
        while written < len(data):
            try:
                written += os.write(self._descriptor, data[written:])
            except BlockingIOError:
                # Another process that shares the descriptor has made it non-blocking.
                _wait_until_writable(self._descriptor)
            except OSError:
                # A full disk, a closed pipe or a closed terminal. The caller counts the line.
                self._is_line_cut = self._is_line_cut if written == 0 else not data[:written].endswith(_NEWLINE)
                return False
        self._is_line_cut = False
        return True

    def _render(self, record: logging.LogRecord) -> bytes:
        try:
            return self._formatter.format(record).encode(self._encoding, "backslashreplace")
        except Exception as error:  # noqa: BLE001 a notice is written instead
            text = f"a log line could not be rendered: {type(error).__name__} in {record.pathname}:{record.lineno}"
            notice = logging.LogRecord("fastws.logs", logging.ERROR, __file__, 0, text, None, None)
            return self._formatter.format(notice).encode(self._encoding, "backslashreplace")


class LogHandler(logging.Handler):
    """Passes records to `writer`, which renders them later in its own thread."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self.writer.put(record)


def flush_logs(seconds: float) -> bool:
    """Wait up to `seconds` until all lines are written. Return whether this process logs through a LogHandler."""
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, LogHandler)]
    for handler in handlers:
        handler.writer.flush(seconds)
    return bool(handlers)


def _wait_until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def _notice(lost: int) -> logging.LogRecord:
    """Return the record that reports `lost` dropped lines."""
    text = f"{lost} log lines dropped: the reader of the log was too slow, or they could not be written"
    record = logging.LogRecord("fastws.logs", logging.WARNING, __file__, 0, text, None, None)
    record.lost_lines = lost
    return record


def _lines_of(record: logging.LogRecord) -> int:
    """Return the number of lines that are lost if `record` is not written."""
    lost: int = getattr(record, "lost_lines", 1)
    return lost
