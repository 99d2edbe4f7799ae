"""The console page at /, its scripts and styles: static files of the package."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from fastws.endpoints.application import Application
from fastws.errors import NotFound
from fastws.vocabulary.response import Response
from fastws.wire.request import Request

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@lru_cache(maxsize=64)
def static_response(name: str) -> Response:
    """A file of fastws/static. Raises NotFound."""
    suffix = name[name.rfind(".") :]
    file = files("fastws").joinpath("static", *name.split("/"))
    if suffix not in _TYPES or ".." in name or not file.is_file():
        raise NotFound("there is no such file")
    return Response(
        200,
        file.read_bytes(),
        (
            ("Content-Type", _TYPES[suffix]),
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-cache"),
        ),
    )


def page(application: Application, request: Request, **_: str) -> Response:
    """GET /: the console."""
    return static_response("console.html")
