"""Parses HTTP/1.1 requests strictly, with h11 and our own limits, and builds responses."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import h11

from fastws.errors import BadRequest, HeadersTooLarge, TooLarge
from fastws.wire.handshake import MAX_HEADERS as MAX_HEADERS
from fastws.wire.handshake import read_common_upgrade
from fastws.wire.http_body import BodyReader, next_event
from fastws.wire.request import Request as Request
from fastws.wire.request import tokens

# Maximum size of an unwanted body that is read and dropped to keep the connection open.
MAX_DISCARDED_BYTES = 65_536
_END = b"\r\n\r\n"
# Not allowed in a head: control characters, a bare CR or LF, folded lines. RFC 9112 sections 2.2 and 5.2 permit
# rejecting them; parsers that read them differently make request smuggling possible.
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n|\n[ \t]")
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
_REQUEST_LINE = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/1\.[01]")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
# RFC 9112 section 3.2.2; RFC 6455 section 4.1 allows it in an opening handshake too. Without userinfo.
_ABSOLUTE_FORM = re.compile(r"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]{1,18}")
_LINE_BREAKS = str.maketrans("\r\n\x00", "   ")
_NO_BODY = (204, 304)


class HttpReader:
    """Reads the requests of one connection, one at a time.

    Heads are limited to `max_header_bytes` and MAX_HEADERS (431), bodies to `max_body_bytes` (413). Both are checked
    before bytes are kept or parsed. After an error the connection must be closed once the error is answered. The
    connection pauses reading while a request is being answered, so at most one read is buffered here.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_line_is_checked",
        "_max_body_bytes",
        "_max_header_bytes",
        "_searched",
        "expects_continue",
        "may_reuse",
    )

    def __init__(self, max_header_bytes: int = 16384, max_body_bytes: int = 1_048_576) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._buffer = b""
        self._searched = 0
        self._line_is_checked = False
        self._body: BodyReader | None = None
        # Whether the client waits for `100 Continue` before it sends the body. Valid after `next_request`.
        self.expects_continue = False
        # Whether the connection stays open after the response to the last request.
        self.may_reuse = False

    def feed(self, data: bytes) -> None:
        """Add bytes read from the socket."""
        if data:
            self.expects_continue = False
        self._buffer = self._buffer + data if self._buffer else data

    def trailing(self) -> bytes:
        """Return and forget the bytes after the head of an upgrade: frames that arrived in the same segment."""
        rest, self._buffer = self._buffer, b""
        return rest

    @property
    def has_more(self) -> bool:
        """Whether bytes after the last request have arrived already."""
        return bool(self._buffer)

    @property
    def unfinished(self) -> Request | None:
        """The request whose head has been read and whose body is incomplete, or None."""
        return None if self._body is None else self._body.request

    def discard_body(self) -> bool:
        """Drop the body of the unfinished request.

        Returns whether to read it to its end, so that another request may follow. If not, because it is long or the
        client waits for `100 Continue`, then feed nothing more: answer and close the connection.
        """
        body = self._body
        if body is None:
            return True
        body.discard()
        length = body.request.headers.get("content-length")
        if not self.expects_continue and length is not None and int(length) <= MAX_DISCARDED_BYTES:
            return True
        self.may_reuse = False
        return False

    def next_request(self) -> Request | None:
        """Return the next complete request, or None until more bytes are fed.

        Raises BadRequest (400), HeadersTooLarge (431) or TooLarge (413).
        """
        if self._body is None:
            self.may_reuse = False
            request = self._read_head()
            if request is None or request.is_upgrade:
                return request
        return self._finish(self._body) if self._body is not None else None

    def _read_head(self) -> Request | None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):  # some clients send it after a body (RFC 9112 section 2.2)
            buffer = self._buffer = _EMPTY_LINES.sub(b"", buffer, count=1)
        end = buffer.find(_END, max(0, self._searched - 3))
        if end < 0:
            self._check_partial_head(buffer)
            self._searched = len(buffer)
            return None
        end += len(_END)
        self._searched = 0
        self._line_is_checked = False
        if end > self._max_header_bytes:
            raise HeadersTooLarge(f"a request has at most {self._max_header_bytes} bytes of headers")
        head, self._buffer = buffer[:end], buffer[end:]
        return read_common_upgrade(head) or self._parse_head(head)

    def _check_partial_head(self, buffer: bytes) -> None:
        """Raise at once if no further bytes can make `buffer` a valid head."""
        if len(buffer) > self._max_header_bytes:
            raise HeadersTooLarge(f"a request has at most {self._max_header_bytes} bytes of headers")
        if _FORBIDDEN.search(buffer, max(0, self._searched - 1)):
            raise BadRequest("this is not an HTTP/1.1 request")
        if not self._line_is_checked:
            end = buffer.find(b"\r\n", max(0, self._searched - 1))
            self._line_is_checked = end >= 0
            if end >= 0 and not _REQUEST_LINE.fullmatch(buffer, 0, end):
                raise BadRequest("this is not an HTTP/1.1 request")

    def _parse_head(self, head: bytes) -> Request:
        if _FORBIDDEN.search(head):
            raise BadRequest("the headers contain a control character, a bare line break or a folded line")
        if not _REQUEST_LINE.fullmatch(head, 0, head.index(b"\r\n")):
            raise BadRequest("this is not an HTTP/1.1 request")
        if head.count(b"\r\n") - 2 > MAX_HEADERS:
            raise HeadersTooLarge(f"a request has at most {MAX_HEADERS} headers")
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=self._max_header_bytes)
        parser.receive_data(head)
        event = next_event(parser)
        if not isinstance(event, h11.Request):
            raise BadRequest("this is not an HTTP/1.1 request")
        request = _as_request(event)
        self._check_framing(head, request)
        _make_relative(request)
        if not request.target.startswith("/"):
            raise BadRequest("the request target must be a path")
        if request.is_upgrade:
            return request  # bytes after an upgrade are never read as a request: at most one response, at most one 101
        connection = tokens(request.headers.get("connection"))
        self.may_reuse = request.http_version == "1.1" and "close" not in connection
        self.expects_continue = parser.they_are_waiting_for_100_continue and not self._buffer
        self._body = BodyReader(parser, request, self._max_body_bytes, self._max_header_bytes)
        return request

    def _finish(self, body: BodyReader) -> Request | None:
        """Continue reading the body. Return the request once it is complete."""
        buffer, self._buffer = self._buffer, b""
        rest = body.read(buffer)
        if rest is None:
            return None
        self._buffer = rest
        self._body = None
        self.expects_continue = False
        return body.request

    def _check_framing(self, head: bytes, request: Request) -> None:
        """Reject ambiguous body lengths (RFC 9112 section 6.3), on which two parsers could disagree."""
        lengths = _CONTENT_LENGTH.findall(head)
        chunked = "transfer-encoding" in request.headers
        if len(lengths) > 1 or (lengths and not _DIGITS.fullmatch(lengths[0].strip(b" \t"))):
            raise BadRequest("`Content-Length` must occur once and consist of digits")
        if chunked and (lengths or request.http_version != "1.1"):
            raise BadRequest("`Transfer-Encoding` is not allowed with `Content-Length` or in HTTP/1.0")
        if lengths and int(lengths[0]) > self._max_body_bytes:
            raise TooLarge(f"a body has at most {self._max_body_bytes} bytes")


def _as_request(event: h11.Request) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(
        event.method.decode("ascii"),
        event.target.decode("ascii"),
        event.http_version.decode("ascii"),
        headers,
        is_upgrade="websocket" in tokens(headers.get("upgrade")),
    )


def _make_relative(request: Request) -> None:
    """Turn a target in absolute form into a path. Its authority replaces the Host header."""
    absolute = _ABSOLUTE_FORM.fullmatch(request.target)
    if absolute is not None:
        host, rest = absolute.groups()
        request.headers["host"] = host
        request.target = rest if rest.startswith("/") else f"/{rest}"


def render_response(
    status: int, headers: list[tuple[str, str]], body: bytes, *, keep_alive: bool, head: bool = False
) -> bytes:
    """Build a response with Date and Content-Length, and with `Connection: close` unless `keep_alive`.

    `head` omits the body but keeps Content-Length. Line breaks in names and values become spaces, so that data from a
    client cannot inject headers.
    """
    lines = [f"HTTP/1.1 {status} {_phrase(status)}\r\nDate: {_date(int(time.time()))}"]
    lines += [f"{name.translate(_LINE_BREAKS)}: {value.translate(_LINE_BREAKS)}" for name, value in headers]
    if status not in _NO_BODY:
        lines.append(f"Content-Length: {len(body)}")
    if not keep_alive:
        lines.append("Connection: close")
    rendered = "\r\n".join(lines).encode("latin-1", "replace") + _END
    return rendered if head or status in _NO_BODY else rendered + body


@lru_cache(maxsize=64)
def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
