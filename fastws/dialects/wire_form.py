"""A wire form: dialect, codec and compression of a group of clients, which receive the same frames."""

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
    """Compression of frames: zlib level and the minimum payload size, as in the settings."""

    level: int
    min_bytes: int

    def pack(self, opcode: int, payload: bytes) -> bytes:
        """Build a compressed frame. It is not compressed if `payload` is small or would not get smaller."""
        if len(payload) < self.min_bytes:
            return frame(opcode, payload)
        compressed = deflate(payload, self.level)
        if len(compressed) >= len(payload):
            return frame(opcode, payload)
        return frame(opcode, compressed, compressed=True)


class DialectForm:
    """Builds frames for one dialect and codec. All clients with the same wire form share one object."""

    __slots__ = ("codec", "compression", "dialect", "ping_frame")

    def __init__(self, dialect: Dialect, codec: Codec, compression: Compression | None = None) -> None:
        self.dialect = dialect
        self.codec = codec
        self.compression = compression
        ping = dialect.ping
        # Sent to a silent client to check whether it is alive.
        self.ping_frame = PING_FRAME if ping is None else frame(codec.opcode, ping)

    def frame(self, publication: Publication) -> bytes:
        """Build the frame of `publication`. Raises Unencodable. Cost: 0.4 µs for a small JSON message."""
        codec = self.codec
        payload = codec.dumps(self.dialect.delivery(publication))
        return (
            frame(codec.opcode, payload) if self.compression is None else self.compression.pack(codec.opcode, payload)
        )

    def pack(self, payload: bytes) -> bytes:
        """Build a frame with `payload`, which is already encoded in this codec."""
        if self.compression is not None:
            return self.compression.pack(self.codec.opcode, payload)
        return frame(self.codec.opcode, payload)

    def verbatim(self, body: bytes) -> bytes:
        """Build a frame with `body` unchanged: text if the codec is text and `body` is UTF-8, else binary."""
        opcode = BINARY if self.codec.opcode == TEXT and not is_utf8(body) else self.codec.opcode
        return self.echo(opcode, body)

    def as_text(self, payload: bytes) -> str:
        """Return a message of a client in this codec as JSON text, without a byte order mark. Raises BadRequest."""
        return (
            payload.decode("utf-8-sig") if self.codec.opcode == TEXT else JSON.dumps(self.codec.loads(payload)).decode()
        )

    def from_text(self, body: str | bytes) -> bytes:
        """Encode the answer of an application: JSON text in this codec, other text as a string, bytes unchanged."""
        if isinstance(body, bytes):
            return body
        if self.codec.opcode == TEXT:
            return body.encode()
        try:
            return self.codec.dumps(JSON.loads(body.encode()))
        except (InvalidPayload, InvalidText):
            return self.codec.dumps(body)

    def echo(self, opcode: int, payload: bytes) -> bytes:
        """Build a frame of `opcode` with `payload`."""
        return frame(opcode, payload) if self.compression is None else self.compression.pack(opcode, payload)

    def reply(
        self, reply: Reply, starting: StartingChannels = NO_CHANNELS, request_id: RequestId = None
    ) -> bytes | None:
        """Build the frame of a reply, or return None if the dialect has no such reply."""
        message = self.dialect.reply(reply, starting)
        if message is None:
            return None
        return self.plain(message if request_id is None else self.dialect.with_id(message, request_id))

    def plain(self, message: Mapping[str, object]) -> bytes:
        """Build a frame of `message` without compression, as for replies."""
        return frame(self.codec.opcode, self.codec.dumps(message))
