"""Requests to the other workers of this machine, on their private Unix sockets."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import structlog

log = structlog.stdlib.get_logger("fastws.siblings")

# `<pid>.sock` is the private socket of a worker.
SOCKET_SUFFIX: Final = ".sock"
_END_OF_HEAD: Final = b"\r\n\r\n"


async def ask_siblings(folder: Path, request: bytes, seconds: float) -> dict[int, str | None]:
    """Send `request` to all other workers whose sockets are in `folder`, at the same time.

    Returns the body of each answer by process id: empty if the worker has exited or answered with an error, None if it
    did not answer within `seconds`.
    """
    paths = _sockets_in(folder)
    paths.pop(os.getpid(), None)
    answers = await asyncio.gather(*(_ask(path, request, seconds) for path in paths.values()))
    return dict(zip(paths, answers, strict=True))


def _sockets_in(folder: Path) -> dict[int, Path]:
    return {int(path.stem): path for path in sorted(folder.glob(f"*{SOCKET_SUFFIX}"))}


async def _ask(path: Path, request: bytes, seconds: float) -> str | None:
    try:
        async with asyncio.timeout(seconds):
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
