"""The allow-list of origins (RFC 6454), which protects against cross-site WebSocket hijacking."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fastws.errors import ConfigError

ANY: Final = "*"
# `*` in an entry matches labels of a host name or digits of a port, but no `/`, `:` or `@`.
_WILD: Final = r"[a-z0-9.-]+"
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9*._-]+|\[[0-9a-f:.]+\])(?::(?:[0-9]{1,5}|\*))?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class AllowedOrigins:
    """The setting `allowed_origins`. `*` allows all origins, `https://*.example.com` all hosts below that name.

    Origins are compared in the form of browsers: scheme, host and port in lower case, without default port and path.
    `null` (sandboxed frames, local files) is allowed only if it is listed.
    """

    __slots__ = ("_exact", "_pattern", "is_open")

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ConfigError for an invalid entry."""
        normal = [_normal(entry) for entry in entries]
        self.is_open = ANY in normal
        self._exact = frozenset(entry for entry in normal if "*" not in entry)
        wild = [re.escape(entry).replace(r"\*", _WILD) for entry in normal if "*" in entry and entry != ANY]
        self._pattern = re.compile("|".join(wild)) if wild else None

    def allows(self, origin: str | None) -> bool:
        """Whether a request with this `Origin` may connect.

        None is allowed: browsers always send an Origin, other clients need not (RFC 6455 section 10.2). Tokens, not
        origins, restrict those.
        """
        if origin is None or self.is_open or origin in self._exact:
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None


def _normal(entry: str) -> str:
    """Return `entry` in the form of browsers."""
    if entry in (ANY, "null"):
        return entry
    text = entry.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(text):
        raise ConfigError(
            "allowed_origins: must be SCHEME://HOST[:PORT] such as https://app.example.com or https://*.example.com, "
            f"not {entry!r}"
        )
    scheme, _, rest = text.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return text.removesuffix(f":{port}") if port is not None and rest else text
