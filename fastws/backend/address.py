"""Where the server of a backend is, and the key it is spoken to with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastws.errors import ConfigError

HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(slots=True, frozen=True)
class Address:
    """`url` is that of the broadcast endpoint; `key` is the Bearer key and never shown."""

    url: str
    key: str | None = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers


def find_address(url: str | None, key: str | None) -> Address:
    """The address from the arguments, else from FASTWS_URL and FASTWS_BROADCAST_KEY.

    `url` is the server's, `http://host:8000`, with or without the stage's path; the `ws://…` that clients use
    does too. Of several keys, separated by commas as the server reads them, the first is used.
    Raises ConfigError saying what is missing.
    """
    url = url or os.environ.get("FASTWS_URL")
    if not url:
        raise ConfigError("where is the server? Give its `url`, or set FASTWS_URL=http://host:8000")
    parts = urlsplit(url.strip())
    scheme = HTTP_SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise ConfigError(f"`url` (FASTWS_URL) must be like http://host:8000 or https://host/production, not {url!r}")
    path = parts.path.rstrip("/")
    if not path.endswith("/broadcast"):
        path += "/broadcast"
    key = key if key is not None else os.environ.get("FASTWS_BROADCAST_KEY", "").split(",")[0].strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError("`key` (FASTWS_BROADCAST_KEY) has a character that no HTTP header may carry")
    return Address(f"{scheme}://{parts.netloc}{path}", key or None)
