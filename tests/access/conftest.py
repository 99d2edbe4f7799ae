"""Keys and tokens for the tests of access."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
import pytest_asyncio
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


class Site:
    """An HTTP server on loopback that answers each request with `answer`, or hangs while `answer` is None."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] | None = (200, b"{}")
        self.requests: list[tuple[str, bytes]] = []
        self._heard = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/there"

    def says(self, value: object, status: int = 200) -> None:
        self.answer = (status, json.dumps(value).encode())

    async def heard(self, requests: int) -> None:
        """Wait until that many requests have come in."""
        async with asyncio.timeout(20), self._heard:
            await self._heard.wait_for(lambda: len(self.requests) >= requests)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                async with self._heard:
                    self.requests.append((head.split()[0], body))
                    self._heard.notify_all()
                if self.answer is not None:
                    status, said = self.answer
                    writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(said), said))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.close()
