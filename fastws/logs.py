"""Logs: structured; text on a terminal, JSON lines otherwise; written by a thread, so that a slow pipe stops nobody."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from typing import Final

import structlog

MAX_WAITING_LINES: Final = 10_000

_SHARED: Final = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


class DroppingQueueHandler(logging.handlers.QueueHandler):
    """Hands lines to the writing thread; when that is MAX_WAITING_LINES behind, counts instead of waiting."""

    def __init__(self, lines: queue.Queue[object]) -> None:
        super().__init__(lines)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # rendered by the writing thread; nothing in it changes meanwhile

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _QuietStream(logging.StreamHandler):  # type: ignore[type-arg] # generic only in typeshed
    """Writes lines; a stream that is closed or full is no reason to stop serving."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 logging's name
        """Nobody is left to tell: the log itself is what failed."""


def start_logging(log_format: str, log_level: str) -> logging.handlers.QueueListener:
    """Send structlog's and the standard library's records to stderr. The caller stops what is returned."""
    is_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if is_text else structlog.processors.JSONRenderer()
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
    stream = _QuietStream(sys.stderr)
    stream.setFormatter(formatter)
    lines: queue.Queue[object] = queue.Queue(MAX_WAITING_LINES)
    handler = DroppingQueueHandler(lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    listener = logging.handlers.QueueListener(lines, stream)
    listener.start()
    return listener
