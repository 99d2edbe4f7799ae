"""The echo dialect, for conformance tests: each message is sent back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastws.codec.codec import Codec
from fastws.dialects.dialect import DialectDefaults, StartingChannels
from fastws.errors import InvalidText
from fastws.vocabulary.commands import Echo as EchoCommand
from fastws.vocabulary.commands import Request
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import is_mailbox
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply
from fastws.wire.frames import is_utf8
from fastws.wire.opcodes import TEXT

_NONE: Final = StartingChannels()


class Echo(DialectDefaults):
    """Sends messages back without parsing them. There are no subscriptions, and no message is sent on connect."""

    name = "echo"
    needs_token = False

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        return _NONE

    def requests(self, opcode: int, payload: bytes, codec: Codec) -> tuple[Request]:
        if opcode == TEXT and not is_utf8(payload):
            raise InvalidText("a text message must be UTF-8")
        return ((None, EchoCommand(opcode, payload)),)

    def reply(self, reply: Reply, starting: StartingChannels) -> dict[str, object] | None:
        return None

    def delivery(self, publication: Publication) -> dict[str, object]:
        message: dict[str, object] = {"event": publication.event, "data": publication.data}
        if is_mailbox(publication.channel):
            message["channel"] = publication.channel
        if publication.offset is not None:
            message["offset"] = publication.offset
        return message


ECHO: Final = Echo()
