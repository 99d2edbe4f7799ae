"""Reads the body of one request with h11, and checks its size before keeping it."""

from __future__ import annotations

from http import HTTPStatus

import h11

from fastws.errors import BadRequest, HeadersTooLarge, TooLarge
from fastws.wire.request import Request

# Bytes passed to h11 at once, so that the overhead of tiny chunks is noticed before it costs much time.
_SLICE_BYTES = 16384


class BodyReader:
    """Reads the body of `request`, whose head `parser` has read, into `request.body`, unless it is `discarded`."""

    __slots__ = (
        "_kept",
        "_max_body_bytes",
        "_max_overhead_bytes",
        "_parser",
        "_raw_bytes",
        "_size",
        "discarded",
        "request",
    )

    def __init__(self, parser: h11.Connection, request: Request, max_body_bytes: int, max_header_bytes: int) -> None:
        self.request = request
        self._parser = parser
        self._kept = bytearray()
        self._raw_bytes = 0
        self._size = 0
        # Whether the body is only counted and not kept.
        self.discarded = False
        self._max_body_bytes = max_body_bytes
        # Chunk headers and trailers may take as many bytes as the body itself and this many more.
        self._max_overhead_bytes = max_header_bytes + _SLICE_BYTES

    def discard(self) -> None:
        """Drop the part of the body that has arrived, and the rest as it arrives."""
        self.discarded = True
        self._kept.clear()

    def read(self, data: bytes) -> bytes | None:
        """Read `data`. Returns the bytes after the body once it is complete, and None before.

        Raises TooLarge, and BadRequest for malformed chunks and for chunks so tiny that parsing them takes far longer
        than the size of the body justifies.
        """
        position = 0
        while True:
            event = next_event(self._parser)
            if isinstance(event, h11.Data):
                self._size += len(event.data)
                if self._size > self._max_body_bytes:
                    raise TooLarge(f"a body has at most {self._max_body_bytes} bytes")
                if not self.discarded:
                    self._kept += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.request.body = bytes(self._kept)
                return bytes(self._parser.trailing_data[0]) + data[position:]
            elif position < len(data):
                piece = data[position : position + _SLICE_BYTES]
                position += len(piece)
                self._raw_bytes += len(piece)
                if self._raw_bytes > 2 * self._size + self._max_overhead_bytes:
                    raise BadRequest("the chunks of the body are too small")
                self._parser.receive_data(piece)
            else:
                return None


def next_event(parser: h11.Connection) -> object:
    """Return the next event of `parser`. Raises BadRequest or HeadersTooLarge for invalid bytes."""
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            raise HeadersTooLarge("the headers are too large") from error
        raise BadRequest("this is not a well-formed HTTP/1.1 request") from error
