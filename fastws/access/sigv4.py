"""AWS Signature Version 4: whether a request was signed with one of our key pairs (seed 004)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from fastws.errors import Forbidden
from fastws.wire.request import Request

ALGORITHM: Final = "AWS4-HMAC-SHA256"
MAX_SKEW_SECONDS: Final = 900.0
# Without these a signature would hold for another server, or for ever.
_ALWAYS_SIGNED: Final = frozenset({"host", "x-amz-date"})
_FIELD: Final = re.compile(r"(Credential|SignedHeaders|Signature)=([^\s,]+)")
_MOMENT: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_MISSING: Final = "Missing Authentication Token"
_INCOMPLETE: Final = "The request's signature is incomplete: Credential, SignedHeaders and Signature are needed"
_WRONG: Final = "The signature does not hold: check the key pair, and that proxies pass path and Host on unchanged"


class Signature(NamedTuple):
    """What an Authorization header says: by which key, for which scope, over what, and the signature."""

    key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


class AwsCredentials:
    """The setting `aws_credentials`: KEY_ID:SECRET pairs, each of which may sign.

    Region and service are whatever the signer's credential scope names: there is one region and one service here. A
    session token (`X-Amz-Security-Token`) is not looked at: it proves something to AWS alone, and whoever signs with a
    secret that is listed needs no further proof. `now` is seconds since the epoch.
    """

    def __init__(self, pairs: Iterable[str], now: Callable[[], float] = lambda: datetime.now(UTC).timestamp()) -> None:
        self._secrets: Mapping[str, str] = dict(_split(pair) for pair in pairs)
        self._now = now
        # Signed with for unknown key ids, so that they take the time of known ones.
        self._decoy = secrets.token_hex()

    def __bool__(self) -> bool:
        """Whether any pair is configured."""
        return bool(self._secrets)

    def check(self, request: Request) -> None:
        """Raise Forbidden unless one of the pairs signed this request within the last or next 15 minutes."""
        claim = _claim(request.header("authorization"))
        if not _ALWAYS_SIGNED.issubset(claim.signed_headers):
            raise Forbidden("The signature must cover the headers host and x-amz-date")
        moment = request.headers.get("x-amz-date", "")
        self._check_moment(moment, claim.date)
        secret = self._secrets.get(claim.key_id)
        expected = sign(request, secret or self._decoy, claim, moment)
        if not hmac.compare_digest(expected.encode(), claim.signature.encode()) or secret is None:
            raise Forbidden(_WRONG)

    def _check_moment(self, moment: str, date: str) -> None:
        if _MOMENT.fullmatch(moment) is None or moment[:8] != date:
            raise Forbidden("`X-Amz-Date` must be such as 20261109T120000Z, on the day of the credential's scope")
        try:
            signed_at = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise Forbidden("`X-Amz-Date` is no date") from None
        if abs(signed_at - self._now()) > MAX_SKEW_SECONDS:
            raise Forbidden(f"Signature expired: {moment} is more than 15 minutes off this server's clock")


def sign(request: Request, secret: str, claim: Signature, moment: str) -> str:
    """The signature (hexadecimal) that the owner of `secret` puts to `request`. Cost: 20 µs, and 1 µs per KB of body.

    Source: AWS IAM User Guide, "Create a signed AWS API request".
    """
    canonical = hashlib.sha256(_canonical_request(request, claim.signed_headers)).hexdigest()
    text = "\n".join((ALGORITHM, moment, claim.scope, canonical))
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = _hmac(key, part)
    return _hmac(key, text).hex()


def _canonical_request(request: Request, signed_headers: tuple[str, ...]) -> bytes:
    path, _, query = request.target.partition("?")
    lines = (
        request.method,
        # Encoded once on the wire, and once more here: every service but S3 signs the path so.
        quote(path, safe="/~"),
        "&".join(f"{name}={value}" for name, value in sorted(_pairs(query))),
        *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed_headers),
        "",
        ";".join(signed_headers),
        # Of what came, never what a header says of it: UNSIGNED-PAYLOAD is S3's alone.
        hashlib.sha256(request.body).hexdigest(),
    )
    return "\n".join(lines).encode("latin-1", "replace")


def _pairs(query: str) -> list[tuple[str, str]]:
    if not query:
        return []
    return [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]


def _claim(authorization: str | None) -> Signature:
    """Raises Forbidden for anything but a complete SigV4 header."""
    if authorization is None:
        raise Forbidden(_MISSING)
    algorithm, _, rest = authorization.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise Forbidden(_MISSING)
    fields = dict(_FIELD.findall(rest))
    key_id, date, region, service, ending = _scope(fields.get("Credential", ""))
    headers = tuple(fields.get("SignedHeaders", "").split(";"))
    if ending != "aws4_request" or "Signature" not in fields:
        raise Forbidden(_INCOMPLETE)
    if list(headers) != sorted(set(headers)):
        raise Forbidden("SignedHeaders must be sorted, each name once")
    return Signature(key_id, date, region, service, headers, fields["Signature"])


def _scope(credential: str) -> tuple[str, str, str, str, str]:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5:
        raise Forbidden(_INCOMPLETE)
    key_id, date, region, service, ending = parts
    return key_id, date, region, service, ending


def _split(pair: str) -> tuple[str, str]:
    key_id, _, secret = pair.partition(":")
    return key_id, secret


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).digest()
