"""POST /revocations: a token or a user that no longer holds."""

from __future__ import annotations

import time
from typing import Final

from fastws.access.revocation import FURTHEST_SECONDS
from fastws.endpoints.application import Application
from fastws.endpoints.bodies import read_object
from fastws.endpoints.connections import check_key
from fastws.errors import BadRequest
from fastws.wire.request import Request
from fastws.wire.response import Response

MAX_LENGTH: Final = 255


async def revoke(application: Application, request: Request, **_: str) -> Response:
    """Revoke `{"jti"[,"exp"]}` or `{"user"}`: in force everywhere within a second, open connections included."""
    check_key(application, request)
    body = read_object(request)
    if ("jti" in body) == ("user" in body):
        raise BadRequest("give either `jti` (one token) or `user` (all tokens issued until now)")
    field = "jti" if "jti" in body else "user"
    value = body[field]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LENGTH:
        raise BadRequest(f"`{field}` must be a string of 1 to {MAX_LENGTH} characters")
    expires_at = _expiry(body)
    if field == "user":
        if expires_at is not None:
            raise BadRequest("`exp` goes with `jti`: it is that of one token")
        await application.cluster.revoke(token_id=None, user=value)
    else:
        await application.cluster.revoke(token_id=value, user=None, expires_at=expires_at)
    return Response(204)


def _expiry(body: dict[str, object]) -> float | None:
    """The token's `exp`, if it is given: until then the revocation is kept."""
    value = body.get("exp")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest("`exp` must be the token's `exp`: a number of seconds since 1970")
    if not 0 < value < time.time() + FURTHEST_SECONDS:
        raise BadRequest("`exp` must be seconds since 1970, not milliseconds, and at most 10 years ahead")
    return float(value)
