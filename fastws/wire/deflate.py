"""permessage-deflate (RFC 7692) without context takeover: one window for all clients, bounded inflation."""

from __future__ import annotations

import re
import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from fastws.wire.client_windows import HEAD_BYTES, WINDOW_BYTES, ClientWindows

NAME: Final = "permessage-deflate"
_MAX_WINDOW_BITS = 15
# The window of all our frames. Clients must not choose how many wire forms there are, each of which is compressed for
# itself. 12 bits compress 1 MB of JSON as small as 15 and random text in 22 instead of 29 ms (zlib 1.3, level 6), and
# are what the `websockets` package asks for.
WINDOW_BITS: Final = 12
# The end of a sync flush, which the sender removes and the receiver appends (RFC 7692 section 7.2).
_FLUSH_TAIL = b"\x00\x00\xff\xff"
# Bytes allowed after a block with BFINAL: the beginning of the flush (RFC 7692 section 7.2.3.4).
_AFTER_FINAL_BLOCK = (b"", b"\x00")

# The parameters of an offer (RFC 7692 section 7.1) and the pattern of their value; None = no value.
_SERVER_NO_TAKEOVER = "server_no_context_takeover"
_CLIENT_NO_TAKEOVER = "client_no_context_takeover"
_SERVER_WINDOW = "server_max_window_bits"
_CLIENT_WINDOW = "client_max_window_bits"
_PARAMETERS: dict[str, re.Pattern[str] | None] = {
    _SERVER_NO_TAKEOVER: None,
    _CLIENT_NO_TAKEOVER: None,
    # 8 to 11 are legal, but smaller than our window: the offer is declined.
    _SERVER_WINDOW: re.compile(r'1[2-5]|"1[2-5]"'),
    _CLIENT_WINDOW: re.compile(r'[89]|1[0-5]|"(?:[89]|1[0-5])"'),
}


@dataclass(slots=True, frozen=True)
class Deflate:
    """The negotiated parameters. `response` is the value of Sec-WebSocket-Extensions in the 101 response."""

    response: str


def negotiate(offers: str) -> Deflate | None:
    """Accept the first acceptable offer in a Sec-WebSocket-Extensions value. Returns None if there is none.

    Offers with unknown or repeated parameters or with invalid values are declined (RFC 7692 section 7.1). Both sides
    go without context takeover, which a server may ask of any client (section 7.1.1.2). The client chooses its own
    window, since a window of 15 bits inflates everything.
    """
    for offer in offers.split(","):
        if offer.count('"') % 2:
            return None  # a quoted comma, which never occurs in offers of this extension
        name, *parameters = [piece.strip(" \t") for piece in offer.split(";")]
        if name.lower() != NAME:
            continue
        read = _read_parameters(parameters)
        if read is None:
            continue
        return _agreement(names_window=_SERVER_WINDOW in read)
    return None


@cache
def _agreement(*, names_window: bool) -> Deflate:
    """Return the agreement, shared by all connections. A requested window size must be answered (section 7.1.2.1)."""
    answer = [NAME, _SERVER_NO_TAKEOVER, _CLIENT_NO_TAKEOVER]
    return Deflate("; ".join([*answer, f"{_SERVER_WINDOW}={WINDOW_BITS}"] if names_window else answer))


def _read_parameters(parameters: list[str]) -> dict[str, str] | None:
    """Return the parameters of one offer, values without quotes, or None if the offer must be declined."""
    read: dict[str, str] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        name = name.strip(" \t").lower()
        value = value.strip(" \t")
        if name in read or name not in _PARAMETERS:
            return None
        allowed = _PARAMETERS[name]
        needs_check = equals or name == _SERVER_WINDOW
        if needs_check and (allowed is None or not allowed.fullmatch(value)):
            return None
        read[name] = value.strip('"')
    return read


def deflate(payload: bytes, level: int) -> bytes:
    """Compress one message without context (RFC 7692 section 7.2.1), for `frame(compressed=True)`.

    `level` is the zlib level, 1 to 9.
    """
    compressor = zlib.compressobj(level, zlib.DEFLATED, -WINDOW_BITS)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed[: -len(_FLUSH_TAIL)]


class Inflater(Extension):
    """Inflates incoming messages, as a wsproto extension. One per parser; a zlib stream exists only during a message.

    A message that would exceed `max_message_bytes` inflated fails with 1009 before more than that is in memory.
    Invalid deflate data fails with 1007. Messages of `client` may refer to its window in `windows`; without `windows`
    none may refer to an earlier message.
    """

    name = NAME

    def __init__(self, max_message_bytes: int, windows: ClientWindows | None = None, client: Hashable = None) -> None:
        self._max_message_bytes = max_message_bytes
        self._windows = windows
        self._client = client
        self._stream: zlib._Decompress | None = None
        self._produced = 0
        # The message as its client's window needs it: its first compressed piece, the beginning of its text, and the
        # window after it; the last two are None if the client has no window.
        self._start = b""
        self._head: bytes | None = None
        self._window: bytes | None = None
        self._message_is_compressed: bool | None = None
        self._frame_is_control = False

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool | str:
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Check RSV1, which is set in the first frame of a compressed message only (RFC 7692 section 6)."""
        self._frame_is_control = opcode.iscontrol()
        if self._frame_is_control or opcode is Opcode.CONTINUATION:
            if rsv.rsv1:
                return CloseReason.PROTOCOL_ERROR
        elif self._message_is_compressed is None:
            self._message_is_compressed = rsv.rsv1
        return RsvBits(rsv1=True, rsv2=False, rsv3=False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Return `data`, inflated if it belongs to a compressed message."""
        return self._inflate(data) if self._message_is_compressed and not self._frame_is_control else data

    def frame_inbound_complete(
        self,
        proto: FrameDecoder | FrameProtocol,
        fin: bool,  # noqa: FBT001 - wsproto's signature
    ) -> bytes | CloseReason | None:
        """Return the rest of a compressed message that the flush tail yields."""
        if not fin or self._frame_is_control:
            return None
        rest = self._inflate(_FLUSH_TAIL) if self._message_is_compressed and not self._has_ended() else None
        if self._windows is not None and self._head is not None and self._window is not None:
            self._windows.update(self._client, self._start, self._head, self._window)
        self._stream = self._head = self._window = None
        self._start = b""
        self._produced = 0
        self._message_is_compressed = None
        return rest

    def _has_ended(self) -> bool:
        return self._stream is not None and self._stream.eof

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        stream = self._stream
        if stream is None:
            stream = self._stream = self._open_stream(data)
        room = self._max_message_bytes - self._produced
        try:
            # Ask for one byte more than allowed, to distinguish a message at the limit from one over it.
            inflated = stream.decompress(data, room + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        if len(inflated) > room:
            return CloseReason.MESSAGE_TOO_BIG
        if stream.unused_data not in _AFTER_FINAL_BLOCK:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._produced += len(inflated)
        if self._head is not None and self._window is not None:
            self._head = self._head or inflated[:HEAD_BYTES]
            self._window = (self._window + inflated[-WINDOW_BYTES:])[-WINDOW_BYTES:]
        return inflated

    def _open_stream(self, data: bytes) -> zlib._Decompress:
        """Return the stream of a message that begins with `data`."""
        window = None if self._windows is None else self._windows.find(self._client)
        if window is not None:
            self._start = data
            self._head, self._window = b"", window
        return zlib.decompressobj(-_MAX_WINDOW_BITS, zdict=window) if window else zlib.decompressobj(-_MAX_WINDOW_BITS)
