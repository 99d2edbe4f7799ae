"""The key that backends send with what they publish: `Authorization: Bearer <key>`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from fastws.errors import ConfigError, Unauthorized


class BroadcastKeys:
    """The keys that are good; more than one while a new one is taken into use.

    Raises ConfigError for a key that no header could carry as it is.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        given = [key for key in keys if key]
        if not all(key.isascii() and key.isprintable() and key == key.strip() for key in given):
            raise ConfigError("broadcast_key: printable ASCII only, without spaces at the ends: it goes in a header")
        # Digests are of one length, so the time of a comparison does not tell that of the key.
        self._digests = [_digest(key) for key in given]

    def __bool__(self) -> bool:
        """Whether any key is configured: without one nobody is let in."""
        return bool(self._digests)

    def check(self, authorization: str | None) -> None:
        """Raise Unauthorized, saying what is missing, unless the header's value carries a good key."""
        if not self:
            raise Unauthorized("this server has no broadcast_key, so nobody may ask for this")
        if bearer(authorization) is None:
            raise Unauthorized("`Authorization: Bearer <broadcast key>` is needed here")
        if not self.allows(authorization):
            raise Unauthorized("this is not a broadcast key of this server")

    def allows(self, authorization: str | None) -> bool:
        """Whether the Authorization header's value carries a good key; all are compared, in constant time."""
        key = bearer(authorization)
        if key is None:
            return False
        given = _digest(key)
        good = False
        for digest in self._digests:
            good |= hmac.compare_digest(digest, given)
        return good


def bearer(authorization: str | None) -> str | None:
    """What an Authorization header has after `Bearer` (RFC 6750 section 2.1); None: another scheme."""
    if authorization is None:
        return None
    scheme, _, credentials = authorization.strip().partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
