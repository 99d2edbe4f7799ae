"""An HTTP response before it is serialized."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Response:
    """An HTTP response. `render_response` adds the headers Content-Length, Date and Connection."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
