"""Keys that verify tokens, and the algorithms for which each type of key may be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from fastws.errors import ConfigError

HMAC_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EDWARDS_ALGORITHMS: Final = frozenset({"EdDSA"})
# RFC 7518 section 3.4 and RFC 8812: each curve has one algorithm.
_ALGORITHM_OF_CURVE: Final = {
    "secp256r1": "ES256",
    "secp384r1": "ES384",
    "secp521r1": "ES512",
    "secp256k1": "ES256K",
}
ALGORITHMS: Final = HMAC_ALGORITHMS | _RSA_ALGORITHMS | _EDWARDS_ALGORITHMS | set(_ALGORITHM_OF_CURVE.values())
MIN_RSA_BITS: Final = 2048
MAX_JWKS_KEYS: Final = 100

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey


@dataclass(slots=True, frozen=True)
class VerificationKey:
    """A key and the algorithms that it may verify, which depend on its type and never on the token."""

    key: PublicKey | bytes
    algorithms: frozenset[str]
    kid: str | None = None


def secret_key(secret: str) -> VerificationKey:
    """Return the key for HS256/384/512. Raises ConfigError if `secret` is a public key or a certificate."""
    if not secret.strip():
        raise ConfigError("jwt_secret: must not be empty")
    if "-----BEGIN" in secret or secret.lstrip().startswith(("ssh-", "ecdsa-sha2-")):
        # Anyone could sign tokens with a public key (CVE-2022-29217).
        raise ConfigError("jwt_secret: must not be a key in PEM or OpenSSH format; set jwt_public_key instead")
    return VerificationKey(secret.encode(), HMAC_ALGORITHMS)


def public_key(text_or_path: str) -> VerificationKey:
    """Return the key in a PEM public key or certificate, given as text or path. Raises ConfigError."""
    text = text_or_path if "-----BEGIN" in text_or_path else _read(text_or_path)
    # Environment variables often contain \n instead of line ends.
    pem = text.replace("\\n", "\n").strip().encode()
    if b"PRIVATE KEY-----" in pem:
        raise ConfigError("jwt_public_key: must be a public key, not a private key; the server does not sign with it")
    try:
        if b"BEGIN CERTIFICATE" in pem:
            key: object = load_pem_x509_certificate(pem).public_key()
        else:
            key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("jwt_public_key: must be a public key in PEM format (-----BEGIN PUBLIC KEY-----)") from None
    if not isinstance(key, PublicKey):
        raise ConfigError(f"jwt_public_key: must be an RSA, EC, Ed25519 or Ed448 key, not {type(key).__name__}")
    algorithms = algorithms_of(key)
    if not algorithms:
        raise ConfigError(
            f"jwt_public_key: must be an RSA key of {MIN_RSA_BITS} bits or more, or an EC key on a curve of RFC 7518"
        )
    return VerificationKey(key, algorithms)


def jwks_keys(document: object) -> tuple[VerificationKey, ...]:
    """Return the signature keys in a JWKS document (RFC 7517), without unusable ones.

    Symmetric keys are left out, since the document is public. Raises ValueError if no key is left.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    listed = entries[:MAX_JWKS_KEYS] if isinstance(entries, list) else []
    keys = [key for entry in listed if (key := _jwk(entry)) is not None]
    if not keys:
        raise ValueError("not a JWKS document with RSA, EC or OKP keys for signatures in `keys`")
    return tuple(keys)


def algorithms_of(key: PublicKey) -> frozenset[str]:
    """Return the JWT algorithms that `key` may verify: none if it is too weak or has an unknown curve."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA_ALGORITHMS if key.key_size >= MIN_RSA_BITS else frozenset()
    if isinstance(key, ec.EllipticCurvePublicKey):
        algorithm = _ALGORITHM_OF_CURVE.get(key.curve.name)
        return frozenset() if algorithm is None else frozenset({algorithm})
    return _EDWARDS_ALGORITHMS


def _jwk(entry: object) -> VerificationKey | None:
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    operations = entry.get("key_ops")
    if entry.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        return None
    public = {name: value for name, value in entry.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "oth")}
    try:
        key = jwt.PyJWK(public).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, PublicKey):
        return None
    algorithms = algorithms_of(key)
    if entry.get("alg") is not None:
        algorithms &= {entry["alg"]} if isinstance(entry["alg"], str) else set()
    kid = entry.get("kid")
    return VerificationKey(key, algorithms, kid if isinstance(kid, str) else None) if algorithms else None


def _read(path: str) -> str:
    try:
        return Path(os.path.expanduser(path)).read_text("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a PEM file"
        raise ConfigError(f"jwt_public_key: cannot read {path[:200]!r}: {reason}") from None
