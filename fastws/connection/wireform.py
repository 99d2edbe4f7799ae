"""A wire form: dialect + codec (+ compression), the way in which a kind of client reads."""

from __future__ import annotations

from collections.abc import Callable

from fastws.codec.codec import Codec
from fastws.dialects.dialect import Dialect, Place
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply
from fastws.wire.frames import frame

NOWHERE = Place()


class DialectForm:
    """Frames in one dialect and codec. As many objects as kinds of client, never as many as clients."""

    __slots__ = ("_compress", "codec", "dialect")

    def __init__(self, dialect: Dialect, codec: Codec, compress: Callable[[int, bytes], bytes] | None = None) -> None:
        self.dialect = dialect
        self.codec = codec
        self._compress = compress

    @property
    def is_compressed(self) -> bool:
        return self._compress is not None

    def frame(self, publication: Publication) -> bytes:
        """The frame every reader of this form gets. Raises Unencodable. Cost: 0.4 µs for a small JSON message."""
        return self.pack(self.codec.dumps(self.dialect.delivery(publication)))

    def pack(self, payload: bytes) -> bytes:
        """`payload`, already in this codec, as a frame."""
        if self._compress is not None:
            return self._compress(self.codec.opcode, payload)
        return frame(self.codec.opcode, payload)

    def reply(self, reply: Reply, place: Place = NOWHERE, request_id: object = None) -> bytes | None:
        """A reply to one client; None where this dialect has no words for it."""
        message = self.dialect.reply(reply, place)
        if message is None:
            return None
        if request_id is not None:
            message["id"] = request_id
        return frame(self.codec.opcode, self.codec.dumps(message))
