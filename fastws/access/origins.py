"""The allow-list of origins (RFC 6454), which protects against cross-site WebSocket hijacking."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fastws.access.host_patterns import MAX_LENGTH, host_expression
from fastws.access.local_peers import is_loopback_host, is_loopback_only
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.settings import public_host

ANY: Final = "*"
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9*._-]+|\[[0-9a-f:.]+\])(?::(?:[0-9]{1,5}|\*))?")
_HAS_PORT: Final = re.compile(r":(?:[0-9]+|\*)\Z")
# The origin of local files in applications with a web view (Electron, Cordova, Android).
_WITHOUT_HOST: Final = re.compile(r"[a-z][a-z0-9+.-]*:///?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class AllowedOrigins:
    """The setting `allowed_origins`. `*` allows all origins, `https://*.example.com` all hosts below that name.

    Origins are compared in the form of browsers: scheme, host and port in lower case, without default port and path.
    `null` (sandboxed frames, local files) and origins without a host (`file://`, `content://`) are allowed only if they
    are listed.
    """

    __slots__ = ("_allows_loopback", "_exact", "_pattern", "allows", "is_open")

    def __init__(self, entries: Iterable[str], *, allows_loopback: bool = False) -> None:
        """`allows_loopback` adds all origins on this machine. Raises ConfigError for an invalid entry."""
        self._allows_loopback = allows_loopback
        # Cached, since most clients send the same.
        self.allows = lru_cache(maxsize=64)(self._allows)
        normal = [_normal(entry) for entry in entries]
        self.is_open = ANY in normal
        self._exact = frozenset(entry for entry in normal if "*" not in entry)
        wild = [_expression(entry) for entry in normal if "*" in entry and entry != ANY]
        self._pattern = re.compile("|".join(wild)) if wild else None

    @classmethod
    def of(cls, config: Config) -> AllowedOrigins:
        """Return the setting; if it is not set, `public_url` and this machine for a server on loopback, else all."""
        if config.allowed_origins is not None:
            return cls(config.allowed_origins)
        if not is_loopback_only(config):
            return cls((ANY,))
        own = public_host(config)
        return cls(() if own is None else (f"http://{own}", f"https://{own}"), allows_loopback=True)

    def _allows(self, origin: str | None) -> bool:
        """Whether a request with this `Origin` may connect.

        None is allowed: browsers always send an Origin, other clients need not (RFC 6455 section 10.2). Tokens, not
        origins, restrict those.
        """
        if origin is None or self.is_open or origin in self._exact:
            return True
        if len(origin) > MAX_LENGTH:
            return False
        if self._allows_loopback and is_loopback_host(origin.partition("://")[2]):
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None


def _expression(entry: str) -> str:
    scheme, _, rest = entry.partition("://")
    host, colon, port = rest.rpartition(":") if _HAS_PORT.search(rest) else (rest, "", "")
    return f"{re.escape(scheme)}://{host_expression(host)}{colon}{'[0-9]+' if port == '*' else port}"


def _normal(entry: str) -> str:
    """Return `entry` in the form of browsers. Raises ConfigError for an invalid entry."""
    if entry in (ANY, "null"):
        return entry
    text = entry.lower()
    scheme, _, rest = text.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None and _WITHOUT_HOST.fullmatch(text):
        return f"{scheme}://"
    text = text.removesuffix("/")
    if not _ORIGIN.fullmatch(text):
        raise ConfigError(
            "allowed_origins: must be SCHEME://HOST[:PORT] such as https://app.example.com or https://*.example.com, "
            f"or an origin without a host such as file://, not {entry!r}"
        )
    return text.removesuffix(f":{port}") if port is not None and rest else text
