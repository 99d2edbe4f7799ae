"""POST /revocations: a token or a user that no longer holds."""

from __future__ import annotations

from typing import Final

from fastws.endpoints.application import Application
from fastws.endpoints.bodies import read_object
from fastws.endpoints.connections import check_key
from fastws.errors import BadRequest
from fastws.wire.request import Request
from fastws.wire.response import Response

MAX_LENGTH: Final = 255


async def revoke(application: Application, request: Request, **_: str) -> Response:
    """Revoke `{"jti"}` or `{"user"}`: in force everywhere within a second, open connections included."""
    check_key(application, request)
    body = read_object(request)
    if ("jti" in body) == ("user" in body):
        raise BadRequest("give either `jti` (one token) or `user` (all tokens issued until now)")
    field = "jti" if "jti" in body else "user"
    value = body[field]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LENGTH:
        raise BadRequest(f"`{field}` must be a string of 1 to {MAX_LENGTH} characters")
    await application.cluster.revoke(
        token_id=value if field == "jti" else None, user=value if field == "user" else None
    )
    return Response(204)
