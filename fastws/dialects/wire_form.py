"""A wire form: dialect + codec (+ compression), the way in which a kind of client reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastws.codec.codec import Codec
from fastws.codec.json_text import JSON
from fastws.dialects.dialect import Dialect, StartingChannels
from fastws.errors import InvalidPayload, InvalidText
from fastws.vocabulary.commands import RequestId
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply
from fastws.wire.deflate import deflate
from fastws.wire.frames import PING_FRAME, frame, is_utf8
from fastws.wire.opcodes import BINARY, TEXT

NO_CHANNELS = StartingChannels()


@dataclass(slots=True, frozen=True)
class Compression:
    """How a form's frames are compressed: zlib level, window (9 to 15 bits), and from which size on."""

    level: int
    min_bytes: int
    window_bits: int

    def pack(self, opcode: int, payload: bytes) -> bytes:
        """`payload` as a compressed frame; plain where it is small or would not get smaller."""
        if len(payload) < self.min_bytes:
            return frame(opcode, payload)
        squeezed = deflate(payload, self.level, self.window_bits)
        if len(squeezed) >= len(payload):
            return frame(opcode, payload)
        return frame(opcode, squeezed, compressed=True)


class DialectForm:
    """Frames in one dialect and codec. As many objects as kinds of client, never as many as clients."""

    __slots__ = ("codec", "compression", "dialect", "ping_frame")

    def __init__(self, dialect: Dialect, codec: Codec, compression: Compression | None = None) -> None:
        self.dialect = dialect
        self.codec = codec
        self.compression = compression
        ping = dialect.ping
        # What a silent client is sent to show that it is alive.
        self.ping_frame = PING_FRAME if ping is None else frame(codec.opcode, ping)

    def frame(self, publication: Publication) -> bytes:
        """The frame every reader of this form gets. Raises Unencodable. Cost: 0.4 µs for a small JSON message."""
        return self.pack(self.codec.dumps(self.dialect.delivery(publication)))

    def pack(self, payload: bytes) -> bytes:
        """`payload`, already in this codec, as a frame."""
        if self.compression is not None:
            return self.compression.pack(self.codec.opcode, payload)
        return frame(self.codec.opcode, payload)

    def verbatim(self, body: bytes) -> bytes:
        """`body` as it is: text for readers of text if it is UTF-8, else in a binary frame."""
        opcode = BINARY if self.codec.opcode == TEXT and not is_utf8(body) else self.codec.opcode
        return self.echo(opcode, body)

    def as_text(self, payload: bytes) -> str:
        """A client's message as JSON text, in whichever codec it came. Raises BadRequest."""
        return payload.decode() if self.codec.opcode == TEXT else JSON.dumps(self.codec.loads(payload)).decode()

    def from_text(self, body: str | bytes) -> bytes:
        """What an application answers, for a reader of this form: JSON text in its codec, bytes as they are."""
        if isinstance(body, bytes):
            return body
        if self.codec.opcode == TEXT:
            return body.encode()
        try:
            return self.codec.dumps(JSON.loads(body.encode()))
        except (InvalidPayload, InvalidText):
            return self.codec.dumps(body)

    def echo(self, opcode: int, payload: bytes) -> bytes:
        """`payload` in a frame of `opcode`."""
        return frame(opcode, payload) if self.compression is None else self.compression.pack(opcode, payload)

    def reply(
        self, reply: Reply, starting: StartingChannels = NO_CHANNELS, request_id: RequestId = None
    ) -> bytes | None:
        """A reply to one client; None where this dialect has no words for it."""
        message = self.dialect.reply(reply, starting)
        if message is None:
            return None
        return self.plain(message if request_id is None else self.dialect.with_id(message, request_id))

    def plain(self, message: Mapping[str, object]) -> bytes:
        """`message` as a frame that is not compressed, as replies are."""
        return frame(self.codec.opcode, self.codec.dumps(message))
