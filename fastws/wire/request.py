"""An HTTP request."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote


@dataclass(slots=True)
class Request:
    """One HTTP request. `headers` maps lower-case names to values; repeated ones are joined with ", ".

    `target` is the target of the request line, `http_version` is "1.1" or "1.0". `body` is complete; it is empty if
    `is_upgrade`, that is, if the client requests a WebSocket. `is_proxied`: a proxy has opened the connection for a
    client, according to the PROXY protocol. `is_plain`: `read_common_upgrade` has made all checks of `check_upgrade`.
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
        """The path of the target, percent-decoded. Invalid UTF-8 becomes U+FFFD."""
        path = self.target.partition("?")[0]
        return unquote(path) if "%" in path else path

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query, decoded. If a name occurs more than once, the first value is taken."""
        if self._query is None:
            text = self.target.partition("?")[2]
            pairs = parse_qsl(text, keep_blank_values=True) if text else []
            self._query = dict(reversed(pairs))
        return self._query

    def header(self, name: str) -> str | None:
        """Return the value of the header with this lower-case name, or None."""
        return self.headers.get(name)


def tokens(value: str | None) -> list[str]:
    """Return the members of a comma-separated header value, lower-case, without empty ones."""
    if not value:
        return []
    return [member for piece in value.lower().split(",") if (member := piece.strip(" \t"))]
