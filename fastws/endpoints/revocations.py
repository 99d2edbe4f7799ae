"""POST /revocations: revokes one token or all tokens of a user."""

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
    """Revoke `{"jti"[,"exp"]}` or `{"user"}` on all nodes within a second, and close connections that use it."""
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
            raise BadRequest("`exp` can only be used with `jti`")
        await application.cluster.revoke(token_id=None, user=value)
    else:
        await application.cluster.revoke(token_id=value, user=None, expires_at=expires_at)
    return Response(204)


def _expiry(body: dict[str, object]) -> float | None:
    """Return the token's `exp`, until which the revocation is kept, if it is given. Raises BadRequest."""
    value = body.get("exp")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest("`exp` must be the token's `exp`: a number of seconds since 1970")
    if not 0 < value < time.time() + FURTHEST_SECONDS:
        raise BadRequest("`exp` must be seconds since 1970, not milliseconds, and at most 10 years ahead")
    return float(value)
