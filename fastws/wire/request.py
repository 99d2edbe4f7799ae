"""A request, whichever reader it came through."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote


@dataclass(slots=True)
class Request:
    """One HTTP request. `headers` maps lower-case names to values; repeated ones are joined with ", ".

    `target` is the request line's, `path` its percent-decoded path, `http_version` "1.1" or "1.0". `body` is
    whole; it is empty where `is_upgrade` (the client asks for a WebSocket). `is_proxied`: it came over a connection
    that a proxy has opened for somebody else, as the PROXY protocol says. `is_plain`: the direct reader of upgrades
    has checked all that `check_upgrade` would.
    """

    method: str
    target: str
    http_version: str
    headers: dict[str, str]
    body: bytes = b""
    is_upgrade: bool = False
    is_proxied: bool = False
    is_plain: bool = field(default=False, repr=False, compare=False)
    _query: dict[str, str] | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> str:
        """The path of the target, percent-decoded; what is not UTF-8 becomes U+FFFD."""
        path = self.target.partition("?")[0]
        return unquote(path) if "%" in path else path

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, decoded; the first of equal names wins."""
        if self._query is None:
            text = self.target.partition("?")[2]
            pairs = parse_qsl(text, keep_blank_values=True) if text else []
            self._query = dict(reversed(pairs))
        return self._query

    def header(self, name: str) -> str | None:
        """The value of the header with this lower-case name."""
        return self.headers.get(name)


def tokens(value: str | None) -> list[str]:
    """The members of a comma-separated header value, lower-case, empty ones left out."""
    if not value:
        return []
    return [member for piece in value.lower().split(",") if (member := piece.strip(" \t"))]
