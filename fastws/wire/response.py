"""An HTTP response before it is serialized."""

from __future__ import annotations

from dataclasses import dataclass

from fastws.errors import FastWSError


@dataclass(slots=True, frozen=True)
class Response:
    """An HTTP response. `render_response` adds the headers Content-Length, Date and Connection.

    `error` is the error that it reports, if any. It is counted and logged when the response is written.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    error: FastWSError | None = None
