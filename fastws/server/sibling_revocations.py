"""Revocations of the other workers of this machine: a worker asks for them before it listens to clients.

Redis may be away or empty when a worker is started, and then the other workers are the only ones that know them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import orjson

from fastws.access.revocation import TABLES, Revocations
from fastws.endpoints.application import Application
from fastws.endpoints.router import Route
from fastws.telemetry.siblings import ask_siblings
from fastws.wire.request import Request
from fastws.wire.response import Response

# 100,000 revocations take 0.4 s of processor time, for both sides together.
LEARN_SECONDS: Final = 2.0
_PATH: Final = "/known-revocations"
_REQUEST: Final = f"GET {_PATH} HTTP/1.1\r\nHost: sibling\r\nConnection: close\r\n\r\n".encode()


async def known_revocations(application: Application, request: Request, **_: str) -> Response:
    """Return all current revocations as lines of JSON, `{"tokens":{jti:until}}`, with at most PAGE names each."""
    body = bytearray()
    for table in TABLES:
        for page in application.revocations.missing_from({}, table):
            if page:
                body += orjson.dumps({table: page}) + b"\n"
            await asyncio.sleep(0)
    return Response(200, bytes(body), (("Content-Type", "application/x-ndjson"),))


# Served on the private socket.
REVOCATIONS: Final = Route(_PATH, {"GET": known_revocations})


async def learn_revocations(folder: Path, revocations: Revocations) -> None:
    """Merge what the other workers with a socket in `folder` know into `revocations`.

    Workers that have not answered within LEARN_SECONDS are left out, with a warning.
    """
    for answer in (await ask_siblings(folder, _REQUEST, LEARN_SECONDS)).values():
        for line in (answer or "").split("\n")[:-1]:  # not splitlines, which splits at other characters, too
            revocations.merge(orjson.loads(line))
            await asyncio.sleep(0)
