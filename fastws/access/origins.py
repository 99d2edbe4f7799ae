"""Which pages may connect: the allow-list of origins (RFC 6454), against cross-site WebSocket hijacking."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fastws.errors import ConfigError

ANY: Final = "*"
# `*` in an entry: labels of a host name, or digits of a port; never a scheme's end, a user or a second origin.
_WILD: Final = r"[a-z0-9.-]+"
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9*._-]+|\[[0-9a-f:.]+\])(?::(?:[0-9]{1,5}|\*))?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


class AllowedOrigins:
    """The setting `allowed_origins`. `*` allows everyone; `https://*.example.com` all hosts below that name.

    An origin is compared as browsers write it: scheme, host and port, lower case, no default port, no path. `null`
    (sandboxed frames, files) is allowed only where the setting says so.
    """

    __slots__ = ("_exact", "_is_open", "_pattern")

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ConfigError for an entry that is no origin."""
        normal = [_normal(entry) for entry in entries]
        self._is_open = ANY in normal
        self._exact = frozenset(entry for entry in normal if "*" not in entry)
        wild = [re.escape(entry).replace(r"\*", _WILD) for entry in normal if "*" in entry and entry != ANY]
        self._pattern = re.compile("|".join(wild)) if wild else None

    def allows(self, origin: str | None) -> bool:
        """Whether a request with this `Origin` may connect. Browsers always send one, other clients need not
        (RFC 6455 section 10.2), so None is allowed: tokens, not origins, keep those out."""
        if origin is None or self._is_open or origin in self._exact:
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None


def _normal(entry: str) -> str:
    """`entry` as a browser would write that origin."""
    if entry in (ANY, "null"):
        return entry
    text = entry.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(text):
        raise ConfigError(
            f"allowed_origins: {entry!r} is no origin; it must be SCHEME://HOST[:PORT] "
            "such as https://app.example.com or https://*.example.com"
        )
    scheme, _, rest = text.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return text.removesuffix(f":{port}") if port is not None and rest else text
