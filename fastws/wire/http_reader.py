"""HTTP/1.1 requests out of bytes, strictly, and responses into them; h11 decides, under limits of our own."""

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

_END = b"\r\n\r\n"
# Never in a head: control characters, a CR or LF alone, a line that continues the one before (RFC 9112
# sections 2.2 and 5.2 allow to refuse them; what others read differently is how requests are smuggled).
_NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n|\n[ \t]")
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
_REQUEST_LINE = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/1\.[01]")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
# RFC 9112 section 3.2.2, which RFC 6455 section 4.1 allows in an opening handshake, too. Without a user in it.
_ABSOLUTE_FORM = re.compile(r"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]{1,18}")
_LINE_BREAKS = str.maketrans("\r\n\x00", "   ")
_NO_BODY = (204, 304)


class HttpReader:
    """Reads the requests of one connection, one at a time.

    Heads are limited to `max_header_bytes` (431) and MAX_HEADERS, bodies to `max_body_bytes` (413); both are
    counted before they are kept or parsed. An error it raises ends the connection: answer it, then close. The
    connection pauses reading while a request is being answered, so what waits here is one read at most.
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
        # Whether the client waits for `100 Continue` before it sends the body: look after `next_request`.
        self.expects_continue = False
        # Whether the connection stays open after the answer to the request handed out last.
        self.may_reuse = False

    def feed(self, data: bytes) -> None:
        """Take what was read from the socket."""
        if data:
            self.expects_continue = False
        self._buffer = self._buffer + data if self._buffer else data

    def trailing(self) -> bytes:
        """The bytes after an upgrade's head: frames that came in the same segment. Handed out once."""
        rest, self._buffer = self._buffer, b""
        return rest

    @property
    def has_more(self) -> bool:
        """Whether bytes behind the request handed out last are here already."""
        return bool(self._buffer)

    def next_request(self) -> Request | None:
        """The next complete request, or None until more bytes are fed.

        Raises BadRequest (400), HeadersTooLarge (431) or TooLarge (413), with a text for the client.
        """
        if self._body is None:
            self.may_reuse = False
            request = self._read_head()
            if request is None or request.is_upgrade:
                return request
        return self._finish(self._body) if self._body is not None else None

    def _read_head(self) -> Request | None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):  # as some clients end a body (RFC 9112 section 2.2)
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
        """Refuse at once what no further byte can make a request."""
        if len(buffer) > self._max_header_bytes:
            raise HeadersTooLarge(f"a request has at most {self._max_header_bytes} bytes of headers")
        if _NEVER.search(buffer, max(0, self._searched - 1)):
            raise BadRequest("this is not an HTTP/1.1 request")
        if not self._line_is_checked:
            end = buffer.find(b"\r\n", max(0, self._searched - 1))
            self._line_is_checked = end >= 0
            if end >= 0 and not _REQUEST_LINE.fullmatch(buffer, 0, end):
                raise BadRequest("this is not an HTTP/1.1 request")

    def _parse_head(self, head: bytes) -> Request:
        if _NEVER.search(head):
            raise BadRequest("the headers have a control character, a bare line break or a folded line")
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
            return request  # whatever follows is never read as a request: at most one answer, at most one 101
        connection = tokens(request.headers.get("connection"))
        self.may_reuse = request.http_version == "1.1" and "close" not in connection
        self.expects_continue = parser.they_are_waiting_for_100_continue and not self._buffer
        self._body = BodyReader(parser, request, self._max_body_bytes, self._max_header_bytes)
        return request

    def _finish(self, body: BodyReader) -> Request | None:
        """Read on in the body of the request under way; the request once it is complete."""
        buffer, self._buffer = self._buffer, b""
        rest = body.read(buffer)
        if rest is None:
            return None
        self._buffer = rest
        self._body = None
        self.expects_continue = False
        return body.request

    def _check_framing(self, head: bytes, request: Request) -> None:
        """One length, said once (RFC 9112 section 6.3): no two readers may disagree on where a body ends."""
        lengths = _CONTENT_LENGTH.findall(head)
        chunked = "transfer-encoding" in request.headers
        if len(lengths) > 1 or (lengths and not _DIGITS.fullmatch(lengths[0].strip(b" \t"))):
            raise BadRequest("`Content-Length` must stand once, as digits")
        if chunked and (lengths or request.http_version != "1.1"):
            raise BadRequest("`Transfer-Encoding` beside `Content-Length`, or in HTTP/1.0")
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
    """A target in absolute form becomes a path, and its authority the Host, whatever Host was sent."""
    absolute = _ABSOLUTE_FORM.fullmatch(request.target)
    if absolute is not None:
        host, rest = absolute.groups()
        request.headers["host"] = host
        request.target = rest if rest.startswith("/") else f"/{rest}"


def render_response(
    status: int, headers: list[tuple[str, str]], body: bytes, *, keep_alive: bool, head: bool = False
) -> bytes:
    """A whole response with Date and Content-Length; `Connection: close` unless `keep_alive`.

    `head` leaves out the body but not its length. Line breaks in values become spaces, so that nothing that
    came from a client can begin a header of its own.
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
