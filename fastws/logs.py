"""Logs: structured; text on a terminal, JSON lines otherwise."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Final

import structlog

from fastws.log_writer import LogHandler, LogWriter

STDERR: Final = 2
LEVELS: Final = ("debug", "info", "warning", "error")
OURS: Final = "fastws"

log = structlog.stdlib.get_logger("fastws.logs")

_SHARED: Final = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


class LogLevel:
    """The least severe level that is logged: as configured, until somebody wants another for a while.

    It holds for the loggers of fastws in this process; other libraries stay as they were.
    """

    __slots__ = ("configured", "current", "is_debug")

    def __init__(self, configured: str) -> None:
        """`configured` is one of LEVELS."""
        self.configured = configured
        self.current = configured
        self.is_debug = configured == "debug"

    def set(self, level: str) -> None:
        """Log `level` (one of LEVELS) and worse from now on."""
        if LEVELS.index(level) > LEVELS.index(self.current):
            log.warning("log level changes", now=level, before=self.current)
            self._set(level)
        else:
            before = self.current
            self._set(level)
            log.warning("log level changes", now=level, before=before)

    def _set(self, level: str) -> None:
        self.current = level
        self.is_debug = level == "debug"
        logging.getLogger(OURS).setLevel(level.upper())

    def toggle_debug(self) -> None:
        """To debug, or from there back to what is configured (to info where that is debug)."""
        back = self.configured if self.configured != "debug" else "info"
        self.set(back if self.is_debug else "debug")


def log_through_logging() -> None:
    """Where nobody has configured structlog, as in an application that embeds the server: hand its lines to `logging`.

    They obey the application's levels and handlers, as `event='connection opened' connection=…`.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def start_logging(log_format: str, log_level: str) -> None:
    """Send structlog's and the standard library's records to stderr, and what Python itself would print there."""
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    # https://no-color.org: set to anything but nothing.
    has_colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=has_colours) if is_text else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not is_text:
        processors.append(structlog.processors.format_exc_info)
    processors.append(renderer)
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=list(_SHARED), processors=processors)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    # Not through sys.stderr: whoever is stuck in its `write` holds its lock, and with it the end of the process.
    writer = LogWriter(STDERR, formatter, encoding=sys.stderr.encoding or "utf-8")
    root = logging.getLogger()
    root.handlers[:] = [LogHandler(writer)]
    # Debug lines of other libraries (asyncio, httpx, …) tell an operator of ours nothing.
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[log_level.upper()]))
    logging.getLogger(OURS).setLevel(log_level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    _log_what_python_prints()


def _log_what_python_prints() -> None:
    """Python prints warnings and some exceptions to stderr, where the thread that does so waits for the reader."""
    logging.captureWarnings(capture=True)
    sys.unraisablehook = lambda error: log.error(
        "error of ours in a finalizer", where=repr(error.object), exc_info=error.exc_value
    )
    threading.excepthook = lambda error: log.error(
        "error of ours in a thread", where=repr(error.thread), exc_info=error.exc_value
    )
