"""GET /health: the process is running. GET /ready: it accepts clients."""

from __future__ import annotations

from fastws.endpoints.answers import json_response
from fastws.endpoints.application import Application
from fastws.wire.request import Request
from fastws.wire.response import Response


def health(application: Application, request: Request, **_: str) -> Response:
    return json_response({"status": "ok"})


def ready(application: Application, request: Request, **_: str) -> Response:
    """Answer 200, or 503 with the problems: `draining`, `full`, `broker`.

    Of several Redis servers, those that are away are named in `redis_away`. The process stays ready while one is up.
    """
    status = application.status
    problems = [
        name
        for name, is_present in (
            ("draining", status.is_draining),
            ("full", status.is_full),
            ("broker", not status.is_broker_up),
        )
        if is_present
    ]
    if problems:
        return json_response({"status": "unavailable", "problems": problems}, status=503)
    if status.redis_away:
        return json_response({"status": "ready", "redis_away": status.redis_away})
    return json_response({"status": "ready"})
