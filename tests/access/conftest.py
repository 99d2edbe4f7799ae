"""Keys and tokens for the tests of access."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

SECRET = "a secret of more than thirty-two bytes, for the tests"


@dataclass(frozen=True)
class KeyPair:
    """A key of a kind: `private` signs with `algorithm`, `pem` is the public half, `jwk` the same as a JWK."""

    private: Any
    algorithm: str

    @property
    def pem(self) -> str:
        return (
            self.private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    @property
    def openssh(self) -> str:
        return (
            self.private.public_key()
            .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            .decode()
        )

    def jwk(self, kid: str | None = None, **more: object) -> dict[str, object]:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        public: dict[str, object] = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return public | ({} if kid is None else {"kid": kid}) | more

    def sign(self, claims: dict[str, object], **headers: object) -> str:
        return jwt.encode(claims, self.private, self.algorithm, headers=headers)


@pytest.fixture(scope="session")
def rsa_key() -> KeyPair:
    return KeyPair(rsa.generate_private_key(65537, 2048), "RS256")


@pytest.fixture(scope="session")
def other_rsa_key() -> KeyPair:
    return KeyPair(rsa.generate_private_key(65537, 2048), "RS256")


@pytest.fixture(scope="session")
def ec_key() -> KeyPair:
    return KeyPair(ec.generate_private_key(ec.SECP256R1()), "ES256")


@pytest.fixture(scope="session")
def ed_key() -> KeyPair:
    return KeyPair(ed25519.Ed25519PrivateKey.generate(), "EdDSA")


class Forge:
    """Makes tokens that no library would."""

    secret = SECRET

    def claims(self, **changes: object) -> dict[str, object]:
        """Good claims, with `changes`; a change to None takes the claim away."""
        good: dict[str, object] = {"sub": "u1", "exp": int(time.time()) + 3600}
        return {name: value for name, value in (good | changes).items() if value is not None}

    def segment(self, value: object) -> str:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def token(self, header: object, payload: object, key: bytes = SECRET.encode()) -> str:
        """A token of any header and payload, signed with HS256 whatever the header says."""
        signed = f"{self.segment(header)}.{self.segment(payload)}"
        return f"{signed}.{self.segment(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"

    def good(self, **changes: object) -> str:
        return self.token({"alg": "HS256", "typ": "JWT"}, self.claims(**changes))


@pytest.fixture(scope="session")
def forge() -> Forge:
    return Forge()
