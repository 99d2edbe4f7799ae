"""Bodies of requests and answers: JSON, or msgpack where Content-Type and Accept say so."""

from __future__ import annotations

from typing import Final

from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.endpoints.answers import json_response
from fastws.errors import BadRequest, FastWSError
from fastws.wire.request import Request, tokens
from fastws.wire.response import Response

# The registered name, and those in use before it was.
MSGPACK_TYPES: Final = frozenset({"application/vnd.msgpack", "application/msgpack", "application/x-msgpack"})
_JSON_TYPES: Final = frozenset({"application/json", "application/*", "*/*"})
_HEADERS: Final = (("Content-Type", "application/msgpack"), ("Cache-Control", "no-store"))


def read_object(request: Request) -> dict[str, object]:
    """A request's body as an object: msgpack where its Content-Type is that, else JSON. Raises BadRequest."""
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    codec = MSGPACK if media_type in MSGPACK_TYPES else JSON
    try:
        value = codec.loads(request.body)
    except FastWSError as error:
        raise BadRequest(f"the body cannot be read: {error.message}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be a {'JSON object' if codec is JSON else 'msgpack map'}")
    return value


def answer(request: Request, value: object) -> Response:
    """`value` with status 200: in msgpack where Accept prefers it, else in JSON. (Errors are JSON always.)"""
    return Response(200, MSGPACK.dumps(value), _HEADERS) if _prefers_msgpack(request) else json_response(value)


def _prefers_msgpack(request: Request) -> bool:
    """By weight, then by order (RFC 9110 section 12.5.1)."""
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
