"""All workers of a machine asked as one: each answers for itself on a Unix socket; one scrape adds them all up."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import structlog

from fastws.endpoints.application import Application
from fastws.telemetry.exited_workers import SOCKET_SUFFIX, keep_own, last_known, merge
from fastws.telemetry.exposition import CONTENT_TYPE, Exposition
from fastws.wire.request import Request
from fastws.wire.response import Response

log = structlog.stdlib.get_logger("fastws.metrics")

SIBLING_SECONDS: Final = 1.0
_REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\n\r\n"
_END_OF_HEAD: Final = b"\r\n\r\n"


class WorkerMetrics:
    """GET /metrics as a sibling asks for it: this worker alone, also written down, for when it cannot be asked."""

    def __init__(self, exposition: Exposition, folder: Path) -> None:
        self._exposition = exposition
        self._folder = folder
        self.pid = os.getpid()

    def __call__(self, application: Application, request: Request, **_: str) -> Response:
        return Response(200, self.keep().encode(), (("Content-Type", CONTENT_TYPE),))

    def keep(self) -> str:
        """The figures as they are now."""
        text = self._exposition.render().decode()
        try:
            keep_own(self._folder, self.pid, text)
        except OSError as error:
            # The disk is full, or the supervisor is gone and its folder with it.
            log.warning("figures not written down", error=str(error))
        return text


class AllWorkerMetrics:
    """GET /metrics over every worker whose socket is in `folder`, and what all of them are told."""

    def __init__(self, own: WorkerMetrics, folder: Path) -> None:
        self._own = own
        self._folder = folder

    async def __call__(self, application: Application, request: Request, **_: str) -> Response:
        text = self._own.keep()
        answers = await self._ask(_REQUEST)
        return Response(
            # Parsing takes some ms a worker: the clients of this one need not wait for it.
            200,
            await asyncio.to_thread(self._add_up, text, answers),
            (("Content-Type", CONTENT_TYPE),),
        )

    async def tell(self, request: bytes) -> None:
        """Send `request` to every other worker, each of which answers for itself alone."""
        await self._ask(request)

    def _add_up(self, own: str, answers: dict[int, str | None]) -> bytes:
        answered = [self._own.pid, *(pid for pid, text in answers.items() if text)]
        busy = [pid for pid, text in answers.items() if text is None]
        others = [text for text in answers.values() if text]
        return merge([own, *others, *last_known(self._folder, answered, busy)])

    async def _ask(self, request: bytes) -> dict[int, str | None]:
        """By process id: the body of its answer, empty where nobody is there, None where none came in time."""
        paths = {int(path.stem): path for path in sorted(self._folder.glob(f"*{SOCKET_SUFFIX}"))}
        paths.pop(self._own.pid, None)
        answers = await asyncio.gather(*(_ask(path, request) for path in paths.values()))
        return dict(zip(paths, answers, strict=True))


async def _ask(path: Path, request: bytes) -> str | None:
    """The body of a sibling's answer; empty where there is none, None where it is there but does not answer."""
    try:
        async with asyncio.timeout(SIBLING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(request)
                answer = await reader.read(-1)
            finally:
                writer.close()
    except TimeoutError:
        log.warning("a worker did not answer in time", socket=path.name)
        return None
    except OSError as error:
        log.debug("a worker is gone", socket=path.name, error=str(error))
        return ""
    head, _, body = answer.partition(_END_OF_HEAD)
    # Half an answer is that of a worker that died over it.
    is_whole = (
        head.startswith(b"HTTP/1.1 200 ") and f"content-length: {len(body)}\r\n" in head.decode().lower() + "\r\n"
    )
    return body.decode() if is_whole else ""
