"""JSON Web Tokens (RFC 7519): verification with the configured keys, and signing for `fastws token`."""

from __future__ import annotations

import json
import math
import re
import secrets
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import jwt
from jwt.exceptions import InvalidSubjectError
from jwt.utils import base64url_decode

from fastws.access.broadcast_key import bearer
from fastws.access.claims import identity_of
from fastws.access.keys import ALGORITHMS, HMAC_ALGORITHMS, VerificationKey, public_key, secret_key
from fastws.config import Config
from fastws.errors import BadRequest, ConfigError, Unauthorized
from fastws.vocabulary.identity import Identity

MAX_TOKEN_LENGTH: Final = 8192
MIN_SECRET_BYTES: Final = 32
SUBPROTOCOL_PREFIX: Final = "fastws.token."
# The same text for all reasons, revocation included: a reason would help a forger.
REFUSAL: Final = "invalid token: get a new one; the server's log has the reason"
# What the log says. These texts contain nothing from the token.
REVOKED: Final = "the token is revoked"
_NOT_JWT: Final = "it is not a JWT"
_EXPIRED: Final = "the token has expired (`exp`)"
_WRONG_KEY: Final = "the token is not signed with a configured key: secrets differ, or a key was rotated"
_NO_KEY: Final = "no JWT key is configured: set jwt_secret, jwt_public_key or jwt_jwks_url"
_WRONG_ALGORITHM: Final = "the `alg` of the token is not among jwt_algorithms, or does not fit the configured keys"
_BAD_HEADER: Final = "the header of the token has `crit` or `b64`, or a `kid` that is not a string"
_CAUSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.ExpiredSignatureError, _EXPIRED),
    (jwt.ImmatureSignatureError, "the token is not valid yet (`nbf`, `iat`): compare the clocks"),
    (jwt.InvalidAudienceError, "the `aud` of the token is not jwt_audience"),
    (jwt.InvalidIssuerError, "the `iss` of the token is not jwt_issuer"),
    (InvalidSubjectError, "`sub` must be a string"),
)
# Exceptions that parsing an arbitrary token may raise.
_MALFORMED: Final = (jwt.PyJWTError, BadRequest, ValueError, TypeError, OverflowError, RecursionError)
# What scripts and environment files leave around a token.
_AROUND: Final = " \t\r\n\"'"
_THREE_SEGMENTS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class KeySource(Protocol):
    """A source of public keys that may change while the server runs, such as a JWKS URL."""

    def find(self, kid: str | None) -> Sequence[VerificationKey]:
        """Return the known keys that may have signed a token with this `kid`. Does no I/O."""
        ...


class Tokens:
    """Verifies tokens according to the jwt_ settings. Raises ConfigError for unusable keys and algorithms.

    `warnings` are sentences about unsafe settings, to be printed at start-up.
    """

    def __init__(self, config: Config, key_source: KeySource | None = None) -> None:
        self._key_source = key_source
        self._secret = secret_key(config.jwt_secret) if config.jwt_secret is not None else None
        self._public = public_key(config.jwt_public_key) if config.jwt_public_key else None
        self.leeway_seconds = config.jwt_leeway
        # The token that `cost` has inspected, for the `verify` that follows immediately.
        self._inspected: tuple[str, str, list[VerificationKey]] | None = None
        self._audience = config.jwt_audience
        self._issuer = config.jwt_issuer
        served = self._served_algorithms(jwks=key_source is not None or config.jwt_jwks_url is not None)
        self.algorithms = _configured_algorithms(config.jwt_algorithms, served)
        self.warnings = tuple(_secret_warnings(config.jwt_secret or "")) if self._secret is not None else ()
        self._is_secret_short = self._secret is not None and len(config.jwt_secret or "") < 64
        if not math.isfinite(self.leeway_seconds) or self.leeway_seconds < 0:
            raise ConfigError(f"jwt_leeway: must be 0 or more seconds, not {self.leeway_seconds}")

    @property
    def has_public_keys(self) -> bool:
        """Whether the verification of some tokens takes a public-key operation."""
        return not self.algorithms <= HMAC_ALGORITHMS

    @property
    def key_configured(self) -> bool:
        """Whether any key is configured. Without one all tokens are refused."""
        return bool(self.algorithms)

    def verify(self, token: str) -> Identity:
        """Return the identity of `token`, without white space and quotes around it.

        Raises Unauthorized: always with the same text; `cause` is the reason.
        """
        token = token.strip(_AROUND)
        try:
            inspected, self._inspected = self._inspected, None
            if inspected is not None and inspected[0] == token:
                _, algorithm, keys = inspected
            else:
                algorithm, keys = self._inspect(token)
            for key in keys:
                claims = self._decode(token, key, algorithm)
                if claims is not None:
                    return identity_of(claims)
        except _MALFORMED as error:
            raise _refusal(_cause(error)) from None
        raise _refusal(_WRONG_KEY)

    def cost(self, token: str) -> int:
        """Return the maximum number of public-key operations of `verify`; 0 for shared secrets and malformed tokens."""
        if not self.has_public_keys:
            return 0
        token = token.strip(_AROUND)
        try:
            algorithm, keys = self._inspect(token)
        except (Unauthorized, *_MALFORMED):
            return 0
        self._inspected = (token, algorithm, keys)
        return 0 if algorithm in HMAC_ALGORITHMS else len(keys)

    def _inspect(self, token: str) -> tuple[str, list[VerificationKey]]:
        """Return the algorithm in the header of `token` and the keys that may have signed it.

        Raises Unauthorized or one of _MALFORMED if the token can be refused without checking its signature.
        """
        # Do not parse text that does not even look like a token: limited length, ASCII, three segments.
        if len(token) > MAX_TOKEN_LENGTH or _THREE_SEGMENTS.fullmatch(token) is None:
            raise _refusal(_NOT_JWT)
        head, body, _ = token.split(".")
        header = _object_in(head)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise _refusal(_WRONG_ALGORITHM if self.algorithms else _NO_KEY)
        # RFC 7515 section 4.1.11: `crit` lists extensions that must be understood, and none is supported. Header fields
        # that contain or locate keys (jku, jwk, x5u, x5c) are ignored.
        if "crit" in header or "b64" in header or not (kid is None or isinstance(kid, str)):
            raise _refusal(_BAD_HEADER)
        # Do not spend a public-key operation on an expired token.
        if algorithm not in HMAC_ALGORITHMS and not _expires_after(time.time() - self.leeway_seconds, _object_in(body)):
            raise _refusal(_EXPIRED)
        return algorithm, self._candidates(algorithm, kid)

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
        """Return a token for `user`, signed with jwt_secret. The first of `workspaces` is the default workspace.

        Raises ConfigError if there is no secret, and BadRequest for claims that `verify` would refuse.
        """
        key, algorithm = self._signing_key()
        issued_at = int(time.time() if now is None else now)
        claims: dict[str, object] = {
            "sub": user,
            "iat": issued_at,
            "exp": issued_at + math.ceil(ttl_seconds),
            "jti": secrets.token_urlsafe(12),
            **self._optional_claims(workspaces, channels, publish),
        }
        identity_of(claims)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
            return jwt.encode(claims, key.key, algorithm)  # type: ignore[arg-type] # bytes, by secret_key

    def _signing_key(self) -> tuple[VerificationKey, str]:
        """Return the shared secret and the algorithm to sign with. Raises ConfigError if there is none."""
        algorithm = next((name for name in sorted(HMAC_ALGORITHMS) if name in self.algorithms), None)
        if self._secret is None or algorithm is None:
            raise ConfigError("signing a token requires jwt_secret: the server has no private key")
        return self._secret, algorithm

    def _optional_claims(
        self, workspaces: Sequence[str], channels: Iterable[str] | None, publish: Iterable[str] | None
    ) -> dict[str, object]:
        claims: Mapping[str, object] = {
            "workspace_id": workspaces[0] if workspaces else None,
            "workspaces": list(workspaces) or None,
            "channels": None if channels is None else list(channels),
            "publish": None if publish is None else list(publish),
            "aud": self._audience,
            "iss": self._issuer,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def _served_algorithms(self, *, jwks: bool) -> frozenset[str]:
        served: frozenset[str] = frozenset()
        for key in (self._secret, self._public):
            if key is not None:
                served |= key.algorithms
        return served | (ALGORITHMS - HMAC_ALGORITHMS) if jwks else served

    def _candidates(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        """Return the keys for `algorithm`. `kid` selects only among the keys of the JWKS."""
        keys = [key for key in (self._secret, self._public) if key is not None]
        if self._key_source is not None and algorithm not in HMAC_ALGORITHMS:
            keys.extend(self._key_source.find(kid))
        return [key for key in keys if algorithm in key.algorithms]

    def _decode(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, object] | None:
        """Return the claims of `token`, or None if `key` has not signed it. Raises PyJWTError for other faults."""
        try:
            if not self._is_secret_short:
                return self._verified_claims(token, key, algorithm)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
                return self._verified_claims(token, key, algorithm)
        except jwt.InvalidSignatureError:
            return None

    def _verified_claims(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, object]:
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
    """Return the token of a request: from `?token=`, else subprotocol `fastws.token.<jwt>`, else `Authorization`.

    The header comes last, because a proxy may set one of its own. Returns None if there is no token. An empty token is
    "", which verification refuses.
    """
    token = query.get("token")
    if token is None and subprotocols:
        token = next((p[len(SUBPROTOCOL_PREFIX) :] for p in subprotocols if p.startswith(SUBPROTOCOL_PREFIX)), None)
    return bearer(authorization) if token is None and authorization is not None else token


def _refusal(cause: str) -> Unauthorized:
    return Unauthorized(REFUSAL, cause=cause)


def _cause(error: Exception) -> str:
    """Return what the log says about a token that `error` refuses."""
    if isinstance(error, BadRequest):
        return f"a claim of the token is invalid: {error.message}"
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token has no `{error.claim}`"
    return next((text for kind, text in _CAUSES if isinstance(error, kind)), _NOT_JWT)


def _object_in(segment: str) -> dict[str, object]:
    """Decode the JSON object in a segment of a token. Raises ValueError for anything else."""
    value = json.loads(base64url_decode(segment))
    if not isinstance(value, dict):
        raise ValueError("a segment of a token must be an object")  # noqa: TRY004 handled like other malformed tokens
    return value


def _expires_after(moment: float, claims: dict[str, object]) -> bool:
    expires_at = claims.get("exp")
    return isinstance(expires_at, int | float) and expires_at > moment


def _secret_warnings(secret: str) -> Iterator[str]:
    if len(secret) < MIN_SECRET_BYTES:
        yield f"jwt_secret is shorter than {MIN_SECRET_BYTES} bytes: it can be guessed"
    if secret != secret.strip():
        yield "jwt_secret begins or ends with white space, which is part of the secret: is it a newline of a file?"


def _configured_algorithms(wanted: Sequence[str], served: frozenset[str]) -> frozenset[str]:
    """Return jwt_algorithms, or all algorithms of the configured keys. Raises ConfigError for one without a key."""
    if not wanted:
        return served
    for name in wanted:
        if name not in ALGORITHMS:
            raise ConfigError(f"jwt_algorithms: unknown algorithm {name!r}; known: {', '.join(sorted(ALGORITHMS))}")
        if name not in served:
            needed = "jwt_secret" if name in HMAC_ALGORITHMS else "jwt_public_key of its kind, or jwt_jwks_url"
            raise ConfigError(f"jwt_algorithms: no key is configured for {name}; it needs {needed}")
    return frozenset(wanted) & served
