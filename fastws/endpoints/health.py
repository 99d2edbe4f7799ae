"""/health: the process runs. /ready: it may be sent clients."""

from __future__ import annotations

from fastws.endpoints.answers import json_response
from fastws.endpoints.application import Application
from fastws.wire.request import Request
from fastws.wire.response import Response


def health(application: Application, request: Request, **_: str) -> Response:
    return json_response({"status": "ok"})


def ready(application: Application, request: Request, **_: str) -> Response:
    """200, or 503 naming what stands in the way."""
    status = application.status
    problems = [
        name
        for name, is_there in (
            ("draining", status.is_draining),
            ("full", status.is_full),
            ("broker", not status.is_broker_up),
        )
        if is_there
    ]
    if problems:
        return json_response({"status": "unavailable", "problems": problems}, status=503)
    return json_response({"status": "ready"})
