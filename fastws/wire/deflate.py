"""permessage-deflate (RFC 7692) without context takeover: nothing kept per connection, inflation bounded."""

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
# What a sync flush ends with; the sender leaves it out and the receiver puts it back (RFC 7692 section 7.2).
_FLUSH_TAIL = b"\x00\x00\xff\xff"
# What may follow a block with BFINAL: the beginning of the flush (RFC 7692 section 7.2.3.4).
_AFTER_FINAL_BLOCK = (b"", b"\x00")

# The parameters of an offer (RFC 7692 section 7.1) and what their value looks like; None = no value.
_SERVER_NO_TAKEOVER = "server_no_context_takeover"
_CLIENT_NO_TAKEOVER = "client_no_context_takeover"
_SERVER_WINDOW = "server_max_window_bits"
_CLIENT_WINDOW = "client_max_window_bits"
_PARAMETERS: dict[str, re.Pattern[str] | None] = {
    _SERVER_NO_TAKEOVER: None,
    _CLIENT_NO_TAKEOVER: None,
    # 8 is a legal wish, but zlib cannot write raw deflate with so small a window: such an offer is declined.
    _SERVER_WINDOW: re.compile(r'9|1[0-5]|"(?:9|1[0-5])"'),
    _CLIENT_WINDOW: re.compile(r'[89]|1[0-5]|"(?:[89]|1[0-5])"'),
}


@dataclass(slots=True, frozen=True)
class Deflate:
    """What was agreed. `response` is the value of Sec-WebSocket-Extensions in the 101.

    `window_bits` is the window that frames to this client are compressed with: 15, or what it asked for.
    """

    response: str
    window_bits: int = _MAX_WINDOW_BITS

    def inflater(self, max_message_bytes: int) -> Inflater:
        """What an parser needs to read this client's compressed messages."""
        return Inflater(max_message_bytes)


def negotiate(offers: str) -> Deflate | None:
    """The first acceptable offer in a Sec-WebSocket-Extensions value; None = no compression.

    An offer with an unknown or repeated parameter, or a value where none may be or out of range, is declined
    (RFC 7692 section 7.1), and the next one looked at. Both sides give up context takeover: a server may ask
    that of any client (section 7.1.1.2). The client's window is left to it, since 15 bits inflate everything.
    """
    for offer in offers.split(","):
        if offer.count('"') % 2:
            return None  # a quoted comma: never in this extension's offers, so not worth a parser
        name, *parameters = [piece.strip(" \t") for piece in offer.split(";")]
        if name.lower() != NAME:
            continue
        read = _read_parameters(parameters)
        if read is None:
            continue
        return _agree(int(read.get(_SERVER_WINDOW, 0)))
    return None


@cache
def _agree(server_window_bits: int) -> Deflate:
    """One agreement per window (0 = not asked for), shared by every connection that has it."""
    answer = [NAME, _SERVER_NO_TAKEOVER, _CLIENT_NO_TAKEOVER]
    if not server_window_bits:
        return Deflate("; ".join(answer))
    return Deflate("; ".join([*answer, f"{_SERVER_WINDOW}={server_window_bits}"]), server_window_bits)


def _read_parameters(parameters: list[str]) -> dict[str, str] | None:
    """The parameters of one offer, the values without quotes; None if it must be declined."""
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
    """`payload` as a message compressed on its own (RFC 7692 section 7.2.1), for `frame(compressed=True)`.

    `level` is zlib's 1 to 9, `window_bits` what the readers agreed to, 9 to 15.
    """
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed[: -len(_FLUSH_TAIL)]


class Inflater(Extension):
    """The receiving side as a wsproto extension: one per parser, a zlib stream only inside a message.

    A message whose plain form would exceed `max_message_bytes` fails with 1009 before more than that is in
    memory; data that is not deflate fails with 1007.
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
        """RSV1 marks the first frame of a compressed message and no other (RFC 7692 section 6)."""
        self._frame_is_control = opcode.iscontrol()
        if self._frame_is_control or opcode is Opcode.CONTINUATION:
            if rsv.rsv1:
                return CloseReason.PROTOCOL_ERROR
        elif self._message_is_compressed is None:
            self._message_is_compressed = rsv.rsv1
        return RsvBits(rsv1=True, rsv2=False, rsv3=False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """`data` inflated, where it belongs to a compressed message."""
        return self._inflate(data) if self._message_is_compressed and not self._frame_is_control else data

    def frame_inbound_complete(
        self,
        proto: FrameDecoder | FrameProtocol,
        fin: bool,  # noqa: FBT001 - wsproto's signature
    ) -> bytes | CloseReason | None:
        """What the flush tail still brings out at the end of a message."""
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
            # One byte more than there is room for tells a message at the limit from one over it.
            inflated = stream.decompress(data, room + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        if len(inflated) > room:
            return CloseReason.MESSAGE_TOO_BIG
        if stream.unused_data not in _AFTER_FINAL_BLOCK:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._produced += len(inflated)
        return inflated
