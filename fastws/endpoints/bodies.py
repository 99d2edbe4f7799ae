"""Bodies of requests and responses: msgpack if Content-Type or Accept asks for it, else JSON."""

from __future__ import annotations

from typing import Final

from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.endpoints.answers import json_response
from fastws.errors import BadRequest, FastWSError
from fastws.wire.request import Request, tokens
from fastws.wire.response import Response

# The registered media type and its unregistered predecessors.
MSGPACK_TYPES: Final = frozenset({"application/vnd.msgpack", "application/msgpack", "application/x-msgpack"})
_JSON_TYPES: Final = frozenset({"application/json", "application/*", "*/*"})
_HEADERS: Final = (("Content-Type", "application/msgpack"), ("Cache-Control", "no-store"))


def read_object(request: Request) -> dict[str, object]:
    """Decode the body of `request` to an object, from msgpack or JSON by Content-Type. Raises BadRequest."""
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    codec = MSGPACK if media_type in MSGPACK_TYPES else JSON
    try:
        value = codec.loads(request.body)
    except FastWSError as error:
        raise BadRequest(f"invalid body: {error.message}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be a {'JSON object' if codec is JSON else 'msgpack map'}")
    return value


def answer(request: Request, value: object) -> Response:
    """Return `value` with status 200, in msgpack if Accept prefers it, else in JSON. (Errors are always JSON.)"""
    return Response(200, MSGPACK.dumps(value), _HEADERS) if _prefers_msgpack(request) else json_response(value)


def _prefers_msgpack(request: Request) -> bool:
    """Whether msgpack has the highest weight in Accept, or is the first of equals (RFC 9110 section 12.5.1)."""
    best, is_msgpack = 0.0, False
    for member in tokens(request.header("accept")):
        media_type, *parameters = (piece.strip() for piece in member.split(";"))
        weight = _weight(parameters)
        if weight > best and media_type in MSGPACK_TYPES | _JSON_TYPES:
            best, is_msgpack = weight, media_type in MSGPACK_TYPES
    return is_msgpack


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
