"""GET and PUT /log-level: show the log level or change it temporarily, in all workers of this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from fastws.endpoints.answers import json_response
from fastws.endpoints.application import Application
from fastws.endpoints.bodies import read_object
from fastws.endpoints.connections import check_key
from fastws.errors import BadRequest
from fastws.logs import LEVELS, LogLevel
from fastws.wire.request import Request
from fastws.wire.response import Response

PATH: Final = "/log-level"

Forward = Callable[[bytes], Awaitable[None]]


class LogLevelEndpoint:
    """Both methods; they require a broadcast key. `forward` sends a request to the other workers."""

    def __init__(self, level: LogLevel, forward: Forward | None = None) -> None:
        self._level = level
        self._forward = forward

    async def show(self, application: Application, request: Request, **_: str) -> Response:
        """Return `{"level","configured"}` of this process."""
        check_key(application, request)
        return json_response({"level": self._level.current, "configured": self._level.configured})

    async def change(self, application: Application, request: Request, **_: str) -> Response:
        """Set the log level to `{"level"}`, until it is changed again or the process restarts."""
        check_key(application, request)
        level = read_object(request).get("level")
        if level not in LEVELS or not isinstance(level, str):
            raise BadRequest(f"`level` must be one of {', '.join(LEVELS)}, not {str(level)[:32]!r}")
        self._level.set(level)
        if self._forward is not None:
            await self._forward(_internal_request(level, request.header("authorization") or ""))
        return json_response({"level": level, "configured": self._level.configured})


def _internal_request(level: str, authorization: str) -> bytes:
    """Return this request for another worker. The key has been verified, so it contains no line break."""
    body = orjson.dumps({"level": level})
    head = (
        f"PUT {PATH} HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\nAuthorization: {authorization}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body
