"""The signatures of Pusher: for channels, users and HTTP requests. All are hexadecimal HMAC-SHA256."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from fastws.errors import Unauthorized
from fastws.vocabulary.pusher_apps import PusherApp

MAX_CLOCK_DIFFERENCE_SECONDS: Final = 600
_VERSION: Final = "1.0"
_SIGNATURE: Final = "auth_signature"
# The same for every fault, because a forger must not learn what was wrong.
REFUSAL: Final = "the signature of the request is invalid or too old: check key, secret and clock of the backend"


def channel_text(socket_id: str, channel: str, channel_data: str | None = None) -> str:
    """Return the text that is signed for a subscription. `channel_data` is the exact string of the client."""
    return f"{socket_id}:{channel}" if channel_data is None else f"{socket_id}:{channel}:{channel_data}"


def user_text(socket_id: str, user_data: str) -> str:
    """Return the text that is signed for a sign-in. `user_data` is the exact string of the client."""
    return f"{socket_id}::user::{user_data}"


def request_text(method: str, path: str, parameters: Mapping[str, str]) -> str:
    """Return the text that is signed for an HTTP request. `parameters` are all of the query, unescaped."""
    pairs = sorted((name.lower(), value) for name, value in parameters.items() if name.lower() != _SIGNATURE)
    return f"{method.upper()}\n{path}\n" + "&".join(f"{name}={value}" for name, value in pairs)


def sign(secret: str, text: str | bytes) -> str:
    """Return the signature of `text`, or of the body of a webhook."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()


def is_signed(app: PusherApp, auth: object, text: str) -> bool:
    """Whether `auth`, KEY:SIGNATURE, is the signature of `text` by a key of `app`. Takes constant time."""
    if not isinstance(auth, str):
        return False
    key, colon, signature = auth.partition(":")
    secret = app.secrets.get(key)
    return bool(colon) and secret is not None and _is_equal(signature, sign(secret, text))


def check_request(
    app: PusherApp, method: str, path: str, parameters: Mapping[str, str], body: bytes | None, *, now: float
) -> None:
    """Check the signature of an HTTP request for `app`. `now` is in seconds since the epoch.

    `path` is as it was sent; SDKs sign it so or percent-decoded. `body` is None before it is received. Raises
    Unauthorized.
    """
    secret = app.secrets.get(_parameter(parameters, "auth_key"))
    if _parameter(parameters, "auth_version") != _VERSION:
        raise Unauthorized(f"`auth_version` must be {_VERSION}")
    signature = _parameter(parameters, _SIGNATURE)
    is_recent = abs(now - _timestamp(parameters)) <= MAX_CLOCK_DIFFERENCE_SECONDS
    is_valid = secret is not None and any(
        _is_equal(signature, sign(secret, request_text(method, each, parameters))) for each in (path, unquote(path))
    )
    if not is_recent or not is_valid or not (body is None or _is_body_signed(parameters, body)):
        raise Unauthorized(REFUSAL)


def _is_body_signed(parameters: Mapping[str, str], body: bytes) -> bool:
    """Whether `body_md5` is that of the body. Without a body it may be absent."""
    digest = parameters.get("body_md5")
    if digest is None:
        return not body
    return _is_equal(digest, hashlib.md5(body, usedforsecurity=False).hexdigest())


def _parameter(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name)
    if not value:
        raise Unauthorized(f"`{name}` is missing in the query: the request is not signed")
    return value


def _timestamp(parameters: Mapping[str, str]) -> int:
    text = _parameter(parameters, "auth_timestamp")
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise Unauthorized("`auth_timestamp` must be seconds since 1970 as an integer")
    return int(text)


def _is_equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
