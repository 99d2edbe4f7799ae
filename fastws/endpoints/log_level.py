"""GET and PUT /log-level: what is logged, and another level for a while, on every process of this machine."""

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

TellSiblings = Callable[[bytes], Awaitable[None]]


class LogLevelEndpoint:
    """Both methods, with the broadcast key. `tell_siblings` takes the request on to the other workers."""

    def __init__(self, level: LogLevel, tell_siblings: TellSiblings | None = None) -> None:
        self._level = level
        self._tell_siblings = tell_siblings

    async def show(self, application: Application, request: Request, **_: str) -> Response:
        """`{"level","configured"}` of this process."""
        check_key(application, request)
        return json_response({"level": self._level.current, "configured": self._level.configured})

    async def change(self, application: Application, request: Request, **_: str) -> Response:
        """Log `{"level"}` and worse, until somebody says otherwise or the process is started anew."""
        check_key(application, request)
        level = read_object(request).get("level")
        if level not in LEVELS or not isinstance(level, str):
            raise BadRequest(f"`level` must be one of {', '.join(LEVELS)}")
        self._level.set(level)
        if self._tell_siblings is not None:
            await self._tell_siblings(_forwarded(level, request.header("authorization") or ""))
        return json_response({"level": level, "configured": self._level.configured})


def _forwarded(level: str, authorization: str) -> bytes:
    """The same request to another worker. The key has proved good, so it holds no line break."""
    body = orjson.dumps({"level": level})
    head = (
        f"PUT {PATH} HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\nAuthorization: {authorization}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body
