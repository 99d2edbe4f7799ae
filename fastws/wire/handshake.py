"""The opening handshake (RFC 6455 section 4.2): validates upgrade requests and builds the 101 response."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1

from fastws.errors import BadRequest, MethodNotAllowed, UpgradeRequired
from fastws.wire.request import Request as Request
from fastws.wire.request import tokens

MAX_HEADERS = 200
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PRINTABLE = bytes(range(0x20, 0x7F))
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
# RFC 3986 section 3.2: a name or IPv4 address, or an IPv6 address in brackets, then an optional port.
_HOST = re.compile(r"(?:[-A-Za-z0-9._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_PLAIN_HOST = re.compile(r"(?:[-A-Za-z0-9.]+|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_BODY_HEADERS = ("content-length", "transfer-encoding", "expect")
_HANDSHAKE_LISTS = ("sec-websocket-protocol", "sec-websocket-extensions")

# Header names as browsers, libraries and proxies write them: a lookup instead of validation.
# fmt: off
_COMMON_NAMES = (
    "Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions", "Origin", "User-Agent", "Authorization", "Cookie", "Pragma", "Cache-Control",
    "Accept", "Accept-Language", "Accept-Encoding", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP",
    "X-Request-ID", "Forwarded", "Via",
)
# fmt: on
_LOWER = {spelling: name.lower() for name in _COMMON_NAMES for spelling in (name, name.lower(), name.title())}


def read_common_upgrade(head: bytes) -> Request | None:
    """Parse an upgrade request of the usual form, or return None. `head` ends with the empty line.

    The usual form: GET of a path over HTTP/1.1, printable ASCII, one space after each colon, at most MAX_HEADERS
    headers, each name once, no body, a valid key, version 13. None only means that h11 and wsproto must decide. They
    accept each request that this function returns, with equal fields (tests/wire/test_handshake.py).

    Cost: 4 µs for 10 headers (benchmarks/test_handshake.py); h11 and wsproto take 60.
    """
    # Everything except line ends is printable ASCII: no bare CR or LF, no tab, no NUL.
    line_ends = head.translate(None, _PRINTABLE)
    count = len(line_ends) // 2
    if line_ends != b"\r\n" * count or head[-4:] != b"\r\n\r\n" or count - 2 > MAX_HEADERS:
        return None
    text = head.decode("ascii")
    if ":  " in text or " \r\n" in text:
        return None
    lines = text[:-4].split("\r\n")
    line = lines[0]
    target = line[4:-9]
    if len(lines) != count - 1 or line[:5] != "GET /" or line[-9:] != " HTTP/1.1" or " " in target:
        return None
    del lines[0]
    headers: dict[str, str] = {}
    lower = _LOWER.get
    for line in lines:
        name, colon, value = line.partition(": ")
        known = lower(name)
        if known is None:
            if not _TOKEN.fullmatch(name):
                return None
            known = name.lower()
        if not colon:
            return None
        headers[known] = value
    if len(headers) != len(lines) or not _is_common_upgrade(headers):
        return None
    return Request("GET", target, "1.1", headers, is_upgrade=True, is_plain=True)


def _is_common_upgrade(headers: dict[str, str]) -> bool:
    get = headers.get
    host = get("host", "")
    connection = get("connection", "").lower()
    return (
        get("upgrade", "").lower() == "websocket"
        and (connection == "upgrade" or "upgrade" in tokens(connection))
        and get("sec-websocket-version") == "13"
        and _KEY.fullmatch(get("sec-websocket-key", "")) is not None
        and _PLAIN_HOST.fullmatch(host) is not None
        and "--" not in host  # wsproto decodes `xn--` labels and may reject one
        and "content-length" not in headers
        and "transfer-encoding" not in headers
        and "expect" not in headers
    )


def check_upgrade(request: Request) -> None:
    """Raise an error if `request` is not a valid opening handshake (RFC 6455 section 4.2.1).

    MethodNotAllowed for methods other than GET, UpgradeRequired for versions other than 13 (answer with
    `Sec-WebSocket-Version: 13`, section 4.4), BadRequest for everything else.
    """
    if request.is_plain:
        return
    if request.method != "GET":
        raise MethodNotAllowed("a WebSocket must be opened with GET", allow=("GET",))
    if request.http_version != "1.1":
        raise BadRequest("a WebSocket must be opened over HTTP/1.1, by a proxy in between as well")
    _check_connection_headers(request.headers)
    _check_websocket_headers(request.headers)


def _check_connection_headers(headers: Mapping[str, str]) -> None:
    host = headers.get("host")
    if host is None or not _HOST.fullmatch(host):
        raise BadRequest("the request needs one `Host` header with a host and an optional port")
    if headers.get("upgrade", "").lower() != "websocket":
        raise BadRequest("the request needs `Upgrade: websocket`")
    if "upgrade" not in tokens(headers.get("connection")):
        raise BadRequest("the request needs `Connection: Upgrade`; a proxy in between may have removed it")
    for name in _BODY_HEADERS:
        if headers.get(name, "0") != "0":
            raise BadRequest("an upgrade request must not have a body")


def _check_websocket_headers(headers: Mapping[str, str]) -> None:
    version = headers.get("sec-websocket-version")
    if version is None:
        raise BadRequest("the request needs `Sec-WebSocket-Version: 13`")
    if version != "13":
        raise UpgradeRequired(
            f"only version 13 of the WebSocket protocol is supported, not {version[:16]!r}: update the client"
        )
    if not _KEY.fullmatch(headers.get("sec-websocket-key", "")):
        raise BadRequest("the request needs one `Sec-WebSocket-Key` of 16 bytes in base64")
    for name in _HANDSHAKE_LISTS:
        if not headers.get(name, "").isascii():
            raise BadRequest("subprotocols and extensions must be ASCII")


_ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b"


def subprotocols(request: Request) -> list[str]:
    """Return the subprotocols that the client offers, in its order. Names that are not tokens are left out."""
    header = request.headers.get("sec-websocket-protocol")
    if header is None:
        return []
    offered = header.split(",")
    return [name for piece in offered if _TOKEN.fullmatch(name := piece.strip(" \t"))]


def accept_response(request: Request, *, subprotocol: str | None, extensions: str | None) -> bytes:
    """Build the 101 response (RFC 6455 section 4.2.2) to a request that has passed `check_upgrade`."""
    digest = sha1(request.headers["sec-websocket-key"].encode() + _GUID, usedforsecurity=False).digest()
    if subprotocol is None and extensions is None:
        return _ACCEPTED % b64encode(digest) + b"\r\n\r\n"
    lines = [_ACCEPTED % b64encode(digest)]
    if subprotocol is not None:
        lines += (b"\r\nSec-WebSocket-Protocol: ", subprotocol.encode("ascii"))
    if extensions is not None:
        lines += (b"\r\nSec-WebSocket-Extensions: ", extensions.encode("ascii"))
    lines.append(b"\r\n\r\n")
    return b"".join(lines)
