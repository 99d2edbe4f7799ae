"""The API key of backends: `Authorization: Bearer <key>`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from fastws.errors import ConfigError, Unauthorized

MIN_KEY_BYTES: Final = 16


class BroadcastKeys:
    """The valid broadcast keys. There is more than one during a rotation.

    `warnings` are sentences about unsafe keys. Raises ConfigError for a key that cannot be sent in a header.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        given = [key for key in keys if key]
        if not all(key.isascii() and key.isprintable() and key == key.strip() for key in given):
            raise ConfigError("broadcast_key: must be printable ASCII without a space at either end")
        short = [key for key in given if len(key) < MIN_KEY_BYTES]
        self.warnings = (f"broadcast_key is shorter than {MIN_KEY_BYTES} bytes: it can be guessed",) if short else ()
        # Digests have the same length, so the duration of a comparison does not reveal the length of a key.
        self._digests = [_digest(key) for key in given]

    def __bool__(self) -> bool:
        """Whether any key is configured. Without one all requests are refused."""
        return bool(self._digests)

    def check(self, authorization: str | None) -> None:
        """Raise Unauthorized unless the value of an Authorization header contains a valid key."""
        if not self:
            raise Unauthorized("this server has no broadcast_key, so this endpoint is disabled: set it on the server")
        if bearer(authorization) is None:
            raise Unauthorized("missing header `Authorization: Bearer <broadcast key>`")
        if not self.allows(authorization):
            raise Unauthorized("invalid broadcast key: send one that is in the server's setting broadcast_key")

    def allows(self, authorization: str | None) -> bool:
        """Whether the value of an Authorization header contains a valid key. Compares all keys, in constant time."""
        key = bearer(authorization)
        if key is None:
            return False
        given = _digest(key)
        good = False
        for digest in self._digests:
            good |= hmac.compare_digest(digest, given)
        return good


def bearer(authorization: str | None) -> str | None:
    """Return the credentials of an Authorization header after `Bearer` (RFC 6750 section 2.1), or None."""
    if authorization is None:
        return None
    scheme, _, credentials = authorization.strip().partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
