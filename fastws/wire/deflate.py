"""permessage-deflate (RFC 7692) without context takeover: no state per connection, bounded inflation."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

NAME: Final = "permessage-deflate"
_MAX_WINDOW_BITS = 15
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
    # 8 is legal, but zlib cannot write raw deflate with such a small window: the offer is declined.
    _SERVER_WINDOW: re.compile(r'9|1[0-5]|"(?:9|1[0-5])"'),
    _CLIENT_WINDOW: re.compile(r'[89]|1[0-5]|"(?:[89]|1[0-5])"'),
}


@dataclass(slots=True, frozen=True)
class Deflate:
    """The negotiated parameters. `response` is the value of Sec-WebSocket-Extensions in the 101 response.

    `window_bits` (9 to 15) is the window size for frames to this client: 15 unless the client asked for less.
    """

    response: str
    window_bits: int = _MAX_WINDOW_BITS

    def inflater(self, max_message_bytes: int) -> Inflater:
        """Return an inflater for the compressed messages of one client."""
        return Inflater(max_message_bytes)


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
        return _agreement(int(read.get(_SERVER_WINDOW, 0)))
    return None


@cache
def _agreement(server_window_bits: int) -> Deflate:
    """Return the agreement for a window size (0 = not requested), shared by all connections that have it."""
    answer = [NAME, _SERVER_NO_TAKEOVER, _CLIENT_NO_TAKEOVER]
    if not server_window_bits:
        return Deflate("; ".join(answer))
    return Deflate("; ".join([*answer, f"{_SERVER_WINDOW}={server_window_bits}"]), server_window_bits)


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


def deflate(payload: bytes, level: int, window_bits: int = _MAX_WINDOW_BITS) -> bytes:
    """Compress one message without context (RFC 7692 section 7.2.1), for `frame(compressed=True)`.

    `level` is the zlib level, 1 to 9. `window_bits` is the negotiated window size, 9 to 15.
    """
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed[: -len(_FLUSH_TAIL)]


class Inflater(Extension):
    """Inflates incoming messages, as a wsproto extension. One per parser; a zlib stream exists only during a message.

    A message that would exceed `max_message_bytes` inflated fails with 1009 before more than that is in memory.
    Invalid deflate data fails with 1007.
    """

    name = NAME

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._stream: zlib._Decompress | None = None
        self._produced = 0
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
        self._stream = None
        self._produced = 0
        self._message_is_compressed = None
        return rest

    def _has_ended(self) -> bool:
        return self._stream is not None and self._stream.eof

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        stream = self._stream
        if stream is None:
            stream = self._stream = zlib.decompressobj(-_MAX_WINDOW_BITS)
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
        return inflated
