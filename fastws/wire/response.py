"""What an endpoint answers, before it is bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Response:
    """An HTTP response. `headers` beside Content-Length, Date and Connection, which the wire adds."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
