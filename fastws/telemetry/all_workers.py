"""Metrics of all workers on this machine: each worker serves its own on a Unix socket, one scrape returns the sum."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import structlog

from fastws.telemetry.exited_workers import SOCKET_SUFFIX, last_known, merge, write_own
from fastws.telemetry.exposition import CONTENT_TYPE, Exposition
from fastws.wire.request import Request
from fastws.wire.response import Response

log = structlog.stdlib.get_logger("fastws.metrics")

SIBLING_SECONDS: Final = 1.0
_REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\n\r\n"
_END_OF_HEAD: Final = b"\r\n\r\n"


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
        answers = await self._ask(_REQUEST)
        # Parsing takes a few ms per worker; in a thread it does not delay the clients of this worker.
        body = await asyncio.to_thread(self._add_up, text, answers)
        return Response(200, body, (("Content-Type", CONTENT_TYPE),))

    async def forward(self, request: bytes) -> None:
        """Send `request` to all other workers."""
        await self._ask(request)

    def _add_up(self, own: str, answers: dict[int, str | None]) -> bytes:
        answered = [self._own.pid, *(pid for pid, text in answers.items() if text)]
        busy = [pid for pid, text in answers.items() if text is None]
        others = [text for text in answers.values() if text]
        return merge([own, *others, *last_known(self._folder, answered, busy)])

    async def _ask(self, request: bytes) -> dict[int, str | None]:
        """Send `request` to all other workers; return the body of each answer, as `_ask` does, by process id."""
        paths = {int(path.stem): path for path in sorted(self._folder.glob(f"*{SOCKET_SUFFIX}"))}
        paths.pop(self._own.pid, None)
        answers = await asyncio.gather(*(_ask(path, request) for path in paths.values()))
        return dict(zip(paths, answers, strict=True))


async def _ask(path: Path, request: bytes) -> str | None:
    """Return the body of a worker's answer; empty if the worker has exited, None if it did not answer in time."""
    try:
        async with asyncio.timeout(SIBLING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(request)
                answer = await reader.read(-1)
            finally:
                writer.close()
    except TimeoutError:
        log.warning("worker did not answer in time", socket=path.name)
        return None
    except OSError as error:
        log.debug("worker has exited", socket=path.name, error=str(error))
        return ""
    head, _, body = answer.partition(_END_OF_HEAD)
    # An incomplete answer means that the worker exited while it answered.
    is_complete = (
        head.startswith(b"HTTP/1.1 200 ") and f"content-length: {len(body)}\r\n" in head.decode().lower() + "\r\n"
    )
    return body.decode() if is_complete else ""
