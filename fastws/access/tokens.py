"""JSON Web Tokens (RFC 7519): verified by the configured keys only; and made, for `fastws token`."""

from __future__ import annotations

import math
import re
import secrets
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import jwt

from fastws.access.broadcast_key import bearer
from fastws.access.claims import identity_of
from fastws.access.keys import ALGORITHMS, HMAC_ALGORITHMS, VerificationKey, public_key, secret_key
from fastws.config import Config
from fastws.errors import BadRequest, ConfigError, Unauthorized
from fastws.vocabulary.identity import Identity

MAX_TOKEN_LENGTH: Final = 8192
MIN_SECRET_BYTES: Final = 32
SUBPROTOCOL_PREFIX: Final = "fastws.token."
# One text for all that can be wrong: a reason would help a forger.
REFUSAL: Final = "invalid or expired token"
_THREE_SEGMENTS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class KeySource(Protocol):
    """Public keys that come and go while the server runs: callouts/jwks.py."""

    def find(self, kid: str | None) -> Sequence[VerificationKey]:
        """The keys that may have signed a token with this `kid`, from memory."""
        ...


class Tokens:
    """Verifies tokens as the jwt_ settings say. Raises ConfigError for keys and algorithms that are no use.

    `warnings` are sentences for the start to print, about what works but should not stay so.
    """

    def __init__(self, config: Config, key_source: KeySource | None = None) -> None:
        self._key_source = key_source
        self._secret = secret_key(config.jwt_secret) if config.jwt_secret is not None else None
        self._public = public_key(config.jwt_public_key) if config.jwt_public_key else None
        self.leeway_seconds = config.jwt_leeway
        self._audience = config.jwt_audience
        self._issuer = config.jwt_issuer
        served = self._served_algorithms(jwks=key_source is not None or config.jwt_jwks_url is not None)
        self.algorithms = _configured_algorithms(config.jwt_algorithms, served)
        short = self._secret is not None and len(config.jwt_secret or "") < MIN_SECRET_BYTES
        self.warnings = (f"jwt_secret is shorter than {MIN_SECRET_BYTES} bytes: it can be guessed",) if short else ()
        self._warns_of_length = self._secret is not None and len(config.jwt_secret or "") < 64
        if not math.isfinite(self.leeway_seconds) or self.leeway_seconds < 0:
            raise ConfigError("jwt_leeway must be 0 or more seconds")

    @property
    def key_configured(self) -> bool:
        """Whether any token at all can be good."""
        return bool(self.algorithms)

    def verify(self, token: str) -> Identity:
        """Who `token` was made for. Raises Unauthorized, with the same text whatever is wrong."""
        # Nothing is parsed that is not at least shaped like a token: bounded, ASCII, three segments.
        if len(token) > MAX_TOKEN_LENGTH or _THREE_SEGMENTS.fullmatch(token) is None:
            raise Unauthorized(REFUSAL)
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if not isinstance(algorithm, str) or algorithm not in self.algorithms:
                raise Unauthorized(REFUSAL)
            # RFC 7515 section 4.1.11: an extension that must be understood, and none is here. The places a
            # header may name keys in (jku, jwk, x5u, x5c) are never looked at.
            if "crit" in header or "b64" in header:
                raise Unauthorized(REFUSAL)
            for key in self._candidates(algorithm, header.get("kid")):
                claims = self._decode(token, key, algorithm)
                if claims is not None:
                    return identity_of(claims)
        except (jwt.PyJWTError, BadRequest, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthorized(REFUSAL) from None
        raise Unauthorized(REFUSAL)

    def sign(
        self,
        user: str,
        *,
        workspaces: Sequence[str] = (),
        channels: Iterable[str] | None = None,
        publish: Iterable[str] | None = None,
        ttl_seconds: float = 3600.0,
        now: float | None = None,
    ) -> str:
        """A token for `user`, signed with jwt_secret; the first of `workspaces` is its own.

        Raises ConfigError where there is no secret, BadRequest for claims that verify would refuse.
        """
        algorithm = next((name for name in sorted(HMAC_ALGORITHMS) if name in self.algorithms), None)
        if self._secret is None or algorithm is None:
            raise ConfigError("a token can be made only with jwt_secret: the server holds no private key")
        issued_at = int(time.time() if now is None else now)
        claims: dict[str, object] = {
            "sub": user,
            "iat": issued_at,
            "exp": issued_at + math.ceil(ttl_seconds),
            "jti": secrets.token_urlsafe(12),
        }
        optional: Mapping[str, object] = {
            "workspace_id": workspaces[0] if workspaces else None,
            "workspaces": list(workspaces) or None,
            "channels": None if channels is None else list(channels),
            "publish": None if publish is None else list(publish),
            "aud": self._audience,
            "iss": self._issuer,
        }
        claims.update({name: value for name, value in optional.items() if value is not None})
        identity_of(claims)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
            return jwt.encode(claims, self._secret.key, algorithm)  # type: ignore[arg-type] # bytes, by secret_key

    def _served_algorithms(self, *, jwks: bool) -> frozenset[str]:
        served: frozenset[str] = frozenset()
        for key in (self._secret, self._public):
            if key is not None:
                served |= key.algorithms
        return served | (ALGORITHMS - HMAC_ALGORITHMS) if jwks else served

    def _candidates(self, algorithm: str, kid: object) -> list[VerificationKey]:
        """The configured keys that serve `algorithm`; `kid` chooses among those of the JWKS, no more."""
        keys = [key for key in (self._secret, self._public) if key is not None]
        if self._key_source is not None and algorithm not in HMAC_ALGORITHMS:
            keys.extend(self._key_source.find(kid if isinstance(kid, str) else None))
        return [key for key in keys if algorithm in key.algorithms]

    def _decode(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, object] | None:
        """The claims of `token` if `key` signed it, else None. Raises PyJWTError for all else."""
        try:
            if not self._warns_of_length:
                return self._claims(token, key, algorithm)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
                return self._claims(token, key, algorithm)
        except jwt.InvalidSignatureError:
            return None

    def _claims(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, object]:
        claims: dict[str, object] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            options={
                "require": ["exp", "sub"] + ["aud"] * bool(self._audience) + ["iss"] * bool(self._issuer),
                "verify_aud": self._audience is not None,
            },
            audience=self._audience,
            issuer=self._issuer,
            leeway=self.leeway_seconds,
        )
        return claims


def token_from(authorization: str | None, query: Mapping[str, str], subprotocols: Sequence[str]) -> str | None:
    """A request's token: from `Authorization: Bearer`, `?token=` or subprotocol `fastws.token.<jwt>`.

    None: there is none. One that is there but empty is "", which no verification lets pass.
    """
    token = bearer(authorization)
    if token is None:
        token = query.get("token")
    if token is None:
        token = next((p[len(SUBPROTOCOL_PREFIX) :] for p in subprotocols if p.startswith(SUBPROTOCOL_PREFIX)), None)
    return token


def _configured_algorithms(wanted: Sequence[str], served: frozenset[str]) -> frozenset[str]:
    """jwt_algorithms, or all that the configured keys serve. Raises ConfigError for one that none serves."""
    if not wanted:
        return served
    for name in wanted:
        if name not in ALGORITHMS:
            raise ConfigError(f"jwt_algorithms: unknown algorithm {name!r}; known: {', '.join(sorted(ALGORITHMS))}")
        if name not in served:
            needed = "jwt_secret" if name in HMAC_ALGORITHMS else "jwt_public_key of its kind, or jwt_jwks_url"
            raise ConfigError(f"jwt_algorithms: no key is configured for {name}; it needs {needed}")
    return frozenset(wanted) & served
