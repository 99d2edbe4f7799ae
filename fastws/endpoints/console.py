"""Static files: the console at / and /console/, the browser client under /client/."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from fastws.endpoints.application import Application
from fastws.endpoints.client_bundle import bundle
from fastws.endpoints.client_package import package
from fastws.errors import NotFound
from fastws.wire.request import Request
from fastws.wire.response import Response

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".tgz": "application/gzip",
}
CLIENT: Final = "client"
CLIENT_ENTRY: Final = "fastws.js"
CLIENT_PACKAGE: Final = "fastws.tgz"
# Loaded by pages beside fastws.js, and by it where a client speaks msgpack.
PUBLISHED: Final = frozenset(
    {"members.js", "msgpack.js", "react.js", "react_channels.js", "react_presence.js", "react_provider.js"}
)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
# Browsers revalidate on each load, mostly with 304, so that a new page never runs with old scripts.
_COMMON: Final = (("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff"))
_OF_PAGES: Final = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
# Pages of other origins may import the client: it contains no secrets and does not use cookies.
_OF_CLIENT: Final = (("Access-Control-Allow-Origin", "*"), ("Cross-Origin-Resource-Policy", "cross-origin"))


def page(application: Application, request: Request, **_: str) -> Response:
    """GET /: the console."""
    return _answer(request, "", "console.html", _OF_PAGES)


def console_file(application: Application, request: Request, *, file: str, **_: str) -> Response:
    """GET /console/{file}: a script, style or picture of the console."""
    return _answer(request, "console", file, _OF_PAGES)


def client_file(application: Application, request: Request, *, file: str, **_: str) -> Response:
    """GET /client/{file}: the browser client, React hooks, types, and all as a package for npm, for any origin."""
    return _answer(request, CLIENT, file, _OF_CLIENT)


def _answer(request: Request, folder: str, name: str, headers: tuple[tuple[str, str], ...]) -> Response:
    """Return file `name` of fastws/static/`folder`, or 304 if the browser has this version. Raises NotFound."""
    found = _files(folder).get(name)
    if found is None:
        raise NotFound("no such file; the console is at /, the browser client at /client/fastws.js")
    body, tag = found
    headers = (("ETag", tag), *_COMMON, *headers)
    # Weak comparison (RFC 9110 section 13.1.2): compressing proxies turn our ETag into a weak one.
    known = [member.strip().removeprefix("W/") for member in (request.header("if-none-match") or "").split(",")]
    if tag in known or "*" in known:
        return Response(304, b"", headers)
    return Response(200, body, (("Content-Type", _TYPES[_suffix(name)]), *headers))


@cache
def _files(folder: str) -> dict[str, tuple[bytes, str]]:
    """Return body and ETag of the files in fastws/static/`folder`, by name. Only these can be requested."""
    directory = files("fastws").joinpath("static", folder)
    bodies = {
        entry.name: entry.read_bytes()
        for entry in directory.iterdir()
        if entry.is_file() and _suffix(entry.name) in _TYPES
    }
    if folder == CLIENT:
        bodies = _client_files(bodies)
    return {name: (body, f'"{hashlib.sha256(body).hexdigest()[:32]}"') for name, body in bodies.items()}


def _client_files(bodies: dict[str, bytes]) -> dict[str, bytes]:
    """Return the published files of the browser client: its modules in one file, what is loaded later, the package."""
    modules = {name: body.decode() for name, body in bodies.items() if _suffix(name) == ".js"}
    published = {name: body for name, body in bodies.items() if name in PUBLISHED or _suffix(name) == ".ts"}
    published[CLIENT_ENTRY] = bundle(CLIENT_ENTRY, modules).encode()
    return {**published, CLIENT_PACKAGE: package(published)}


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
