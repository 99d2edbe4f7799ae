"""Metrics of all workers on this machine: each worker serves its own on a Unix socket, one scrape returns the sum."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import structlog

from fastws.telemetry.exited_workers import last_known, merge, write_own
from fastws.telemetry.exposition import CONTENT_TYPE, Exposition
from fastws.telemetry.siblings import ask_siblings
from fastws.wire.request import Request
from fastws.wire.response import Response

log = structlog.stdlib.get_logger("fastws.metrics")

SIBLING_SECONDS: Final = 1.0
_REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\n\r\n"


class WorkerMetrics:
    """GET /metrics on the private socket: the metrics of this worker alone.

    Every answer is also saved to a file, which is used when the worker does not answer.
    """

    def __init__(self, exposition: Exposition, folder: Path) -> None:
        self._exposition = exposition
        self._folder = folder
        self.pid = os.getpid()

    def __call__(self, application: object, request: Request, **_: str) -> Response:
        return Response(200, self.save().encode(), (("Content-Type", CONTENT_TYPE),))

    def save(self) -> str:
        """Write the current metrics to the file of this worker and return them."""
        text = self._exposition.render().decode()
        try:
            write_own(self._folder, self.pid, text)
        except OSError as error:
            # The disk is full, or the supervisor has exited and its folder is deleted.
            log.warning("metrics not saved", error=str(error))
        return text


class AllWorkerMetrics:
    """GET /metrics on the public port: the sum over all workers whose sockets are in `folder`."""

    def __init__(self, own: WorkerMetrics, folder: Path) -> None:
        self._own = own
        self._folder = folder

    async def __call__(self, application: object, request: Request, **_: str) -> Response:
        text = self._own.save()
        answers = await ask_siblings(self._folder, _REQUEST, SIBLING_SECONDS)
        # Parsing takes a few ms per worker; in a thread it does not delay the clients of this worker.
        body = await asyncio.to_thread(self._add_up, text, answers)
        return Response(200, body, (("Content-Type", CONTENT_TYPE),))

    async def forward(self, request: bytes) -> None:
        """Send `request` to all other workers."""
        await ask_siblings(self._folder, request, SIBLING_SECONDS)

    def _add_up(self, own: str, answers: dict[int, str | None]) -> bytes:
        answered = [self._own.pid, *(pid for pid, text in answers.items() if text)]
        busy = [pid for pid, text in answers.items() if text is None]
        others = [text for text in answers.values() if text]
        return merge([own, *others, *last_known(self._folder, answered, busy)])
