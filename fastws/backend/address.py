"""The URL of the broadcast endpoint and the API key to call it with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastws.errors import ConfigError
from fastws.secret_file import secret_from_file

KEY_VARIABLE = "FASTWS_BROADCAST_KEY"
HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(slots=True, frozen=True)
class Address:
    """`url` is the broadcast endpoint. `key` is sent as a Bearer token and left out of the repr."""

    url: str
    key: str | None = field(repr=False)

    @property
    def base(self) -> str:
        """The server's base URL, without the path of the endpoint."""
        return self.url.removesuffix("/broadcast")

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers


def find_address(url: str | None, key: str | None) -> Address:
    """Return the address from the arguments, or from FASTWS_URL and FASTWS_BROADCAST_KEY where they are None.

    `url` is the server's base URL, such as `http://host:8000`, with or without a stage path. `ws://` and `wss://`
    URLs work too. FASTWS_BROADCAST_KEY may hold several keys separated by commas; FASTWS_BROADCAST_KEY_FILE may name a
    file with one key per line instead. The first one is used. Raises ConfigError.
    """
    url = url or os.environ.get("FASTWS_URL")
    if not url:
        raise ConfigError("no server URL: pass `url` or set FASTWS_URL=http://host:8000")
    parts = urlsplit(url.strip())
    scheme = HTTP_SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise ConfigError(f"`url` (FASTWS_URL) must look like http://host:8000 or https://host/production, not {url!r}")
    path = parts.path.rstrip("/")
    if not path.endswith("/broadcast"):
        path += "/broadcast"
    key = key if key is not None else _key_of_environment()
    if not key.isascii() or not key.isprintable():
        raise ConfigError("`key` (FASTWS_BROADCAST_KEY) must contain only printable ASCII characters")
    return Address(f"{scheme}://{parts.netloc}{path}", key or None)


def _key_of_environment() -> str:
    """Return the first key in the environment, or "" if there is none."""
    text = secret_from_file(os.environ, KEY_VARIABLE)
    if text is None:
        text = os.environ.get(KEY_VARIABLE, "")
    return text.replace("\n", ",").split(",")[0].strip()
