"""An HTTP request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

from fastws.errors import BadRequest

# Percent-encoded "/" and unreserved characters (RFC 3986 section 2.3): letters, digits and -._~
_AMBIGUOUS: Final = re.compile(r"%(?:2[DEF]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE)


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
        """The path of the target, percent-decoded. Invalid UTF-8 becomes U+FFFD. Raises BadRequest (`check_path`)."""
        path = self.target.partition("?")[0]
        if "%" in path:
            check_path(path)
            return unquote(path)
        return path

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query, decoded. If a name occurs more than once, the first value is taken."""
        if self._query is None:
            text = self.target.partition("?")[2]
            self._query = dict(reversed(parse_qsl(text, keep_blank_values=True))) if text else {}
        return self._query

    def header(self, name: str) -> str | None:
        """Return the value of the header with this lower-case name, or None."""
        return self.headers.get(name)


def check_path(path: str) -> None:
    """Raise BadRequest if the undecoded `path` encodes characters that need no encoding, or a slash.

    Proxies differ in whether they decode them before they apply their rules, so a path that means `/ws` here could pass
    a rule on `/ws` there.
    """
    if _AMBIGUOUS.search(path):
        raise BadRequest("the path must not percent-encode letters, digits, -._~ or /")


def tokens(value: str | None) -> list[str]:
    """Return the members of a comma-separated header value, lower-case, without empty ones."""
    if not value:
        return []
    return [member for piece in value.lower().split(",") if (member := piece.strip(" \t"))]
