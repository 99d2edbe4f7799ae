"""Structured logging: text on a terminal, JSON lines otherwise."""

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
LOGGER: Final = "fastws"
# The first fields of a line of JSON.
FIRST: Final = ("timestamp", "level", "event")

# Fields with names that clients and backends choose, and how much of one is shown.
_NAMES: Final = ("user", "channel", "channels")
MAX_NAME_CHARACTERS: Final = 64

log = structlog.stdlib.get_logger("fastws.logs")


def safe_fields(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Cut names to MAX_NAME_CHARACTERS and escape characters that control a terminal or reorder its text.

    A processor of structlog. Control characters in a user's name would otherwise reach the operator's terminal.
    """
    for field, value in event.items():
        if isinstance(value, str):
            event[field] = _safe(value, field)
        elif isinstance(value, list | tuple) and field != "exc_info":
            event[field] = [_safe(item, field) if isinstance(item, str) else item for item in value]
    return event


def _safe(text: str, field: str) -> str:
    if field in _NAMES and len(text) > MAX_NAME_CHARACTERS:
        text = f"{text[: MAX_NAME_CHARACTERS - 1]}…"
    return text if text.isprintable() else repr(text)[1:-1]


_COMMON_PROCESSORS: Final = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    safe_fields,
    structlog.processors.StackInfoRenderer(),
)


class LogLevel:
    """The minimum log level, which can be changed at runtime.

    Applies to the loggers of fastws in this process. The levels of other libraries do not change.
    """

    __slots__ = ("configured", "current", "is_debug")

    def __init__(self, configured: str) -> None:
        """`configured` is one of LEVELS."""
        self.configured = configured
        self.current = configured
        self.is_debug = configured == "debug"

    def set(self, level: str) -> None:
        """Set the minimum level to `level` (one of LEVELS)."""
        if LEVELS.index(level) > LEVELS.index(self.current):
            log.warning("log level changed", now=level, before=self.current)
            self._set(level)
        else:
            before = self.current
            self._set(level)
            log.warning("log level changed", now=level, before=before)

    def _set(self, level: str) -> None:
        self.current = level
        self.is_debug = level == "debug"
        logging.getLogger(LOGGER).setLevel(level.upper())

    def toggle_debug(self) -> None:
        """Switch to debug, or from debug back to the configured level (to info if that is debug)."""
        back = self.configured if self.configured != "debug" else "info"
        self.set(back if self.is_debug else "debug")


def log_through_logging() -> None:
    """Send log events to `logging`, unless structlog is already configured. For applications that embed the server.

    The application's levels and handlers apply. A line looks like `event='connection opened' connection=…`.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            safe_fields,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def start_logging(log_format: str, log_level: str) -> None:
    """Send all log records to stderr: those of structlog, of the standard library, and warnings and uncaught errors."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _with_current_exception,
            *_COMMON_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    # Not through sys.stderr: a thread blocked in its `write` would hold its lock and prevent the process from exiting.
    writer = LogWriter(STDERR, _formatter(log_format), encoding=sys.stderr.encoding or "utf-8")
    root = logging.getLogger()
    root.handlers[:] = [LogHandler(writer)]
    # Debug lines of other libraries (asyncio, httpx, …) are of no use to operators.
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[log_level.upper()]))
    logging.getLogger(LOGGER).setLevel(log_level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    _log_warnings_and_uncaught_errors()


def _with_current_exception(logger: object, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Replace `exc_info=True` by the exception: the thread that renders the line is handling none."""
    if event.get("exc_info") is True:
        event["exc_info"] = sys.exception()
    return event


def _formatter(log_format: str) -> structlog.stdlib.ProcessorFormatter:
    """Return the formatter of all log records: text for people, or one JSON object per line."""
    processors: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "text" or (log_format == "auto" and sys.stderr.isatty()):
        # https://no-color.org: any non-empty value disables colours.
        has_colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        # The default shows the local variables of each frame, secrets among them, if `rich` is installed.
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=has_colours, exception_formatter=plain))
    else:
        processors += (
            structlog.processors.format_exc_info,
            _most_important_first,
            structlog.processors.JSONRenderer(),
        )
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=list(_COMMON_PROCESSORS), processors=processors)


def _most_important_first(logger: object, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Put timestamp, level and event before all other fields, for people who read JSON lines."""
    return {**{name: event.pop(name) for name in FIRST if name in event}, **event}


def _log_warnings_and_uncaught_errors() -> None:
    """Log what Python would print to stderr itself, which blocks the thread while the reader of stderr is slow."""
    logging.captureWarnings(capture=True)
    sys.unraisablehook = lambda error: log.error(
        "internal error in a finalizer", where=repr(error.object), exc_info=error.exc_value
    )
    threading.excepthook = lambda error: log.error(
        "internal error in a thread", where=repr(error.thread), exc_info=error.exc_value
    )
