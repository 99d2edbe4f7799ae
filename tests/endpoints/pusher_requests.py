"""Requests signed as Pusher's documentation says, and each wrong in one way of the caller's choice."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

SECRET, KEY, ID = "app-secret", "app-key", "4711"
APP = f"{ID}:{KEY}:{SECRET}"


def body_of(body: object) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def target(
    method: str,
    path: str,
    body: object = None,
    *,
    key: str = KEY,
    secret: str = SECRET,
    signed_path: str | None = None,
    query: str = "",
    **changed: Any,
) -> str:
    """The path and the signed query of a request. `changed` replaces parameters before they are signed; None omits."""
    data = body_of(body)
    parameters: dict[str, str] = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    parameters |= {"auth_key": key, "auth_timestamp": str(int(time.time())), "auth_version": "1.0"}
    if data:
        parameters["body_md5"] = hashlib.md5(data).hexdigest()
    parameters = {name: value for name, value in (parameters | changed).items() if value is not None}
    text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    signed = f"{method}\n{signed_path or path}\n{text}"
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    return f"{path}?{text}&auth_signature={signature}"
