"""Authentication of HTTP requests by bearer token."""

from __future__ import annotations

from fastws.access.broadcast_key import bearer
from fastws.access.revocation import Revocations
from fastws.access.tokens import REFUSAL, REVOKED, Tokens
from fastws.errors import Unauthorized
from fastws.session.verifications import Verifications
from fastws.vocabulary.identity import Identity


class BearerTokens:
    """Verifies `Authorization: Bearer <JWT>`, within the number of verifications allowed per loop iteration."""

    __slots__ = ("_revocations", "_tokens", "_verifications")

    def __init__(self, tokens: Tokens, revocations: Revocations, verifications: Verifications) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._verifications = verifications

    async def __call__(self, authorization: str | None) -> Identity:
        """Return the identity in this header. Raises Unauthorized."""
        token = bearer(authorization)
        if token is None:
            raise Unauthorized("send a token: `Authorization: Bearer <JWT>`", cause="no token was sent")
        await self._verifications.turn(token)
        identity = self._tokens.verify(token)
        if self._revocations.is_revoked(identity):
            raise Unauthorized(REFUSAL, cause=REVOKED)
        return identity
