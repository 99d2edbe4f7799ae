"""The echo session, for conformance runs: every message goes back as it came."""

from __future__ import annotations

from fastws.dialects.wire_form import is_utf8
from fastws.errors import InvalidText
from fastws.session.session import Session
from fastws.wire.frames import frame
from fastws.wire.opcodes import BINARY, TEXT


class EchoSession(Session):
    """Sends every message back unchanged, text as text and binary as binary; no greeting, no channels."""

    __slots__ = ()

    def begin(self) -> None:
        """Nothing is said first: a conformance client would take it for an answer."""

    def receive(self, messages: list[tuple[int, bytes]]) -> None:
        if self.cork is None:
            self.cork = []
        for opcode, payload in messages:
            if opcode > BINARY:
                self.connection.control(opcode, payload)
                continue
            if opcode == TEXT and not is_utf8(payload):
                self.connection.fail(InvalidText("a text message must be UTF-8"))
                return
            compression = self.form.compression
            self.write_reply_frame(frame(opcode, payload) if compression is None else compression.pack(opcode, payload))
        self.uncork()
