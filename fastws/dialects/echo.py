"""The echo dialect, for conformance runs: the connection sends every message back as it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastws.dialects.dialect import StartingChannels
from fastws.errors import BadRequest
from fastws.vocabulary.commands import Command
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply

_NONE: Final = StartingChannels()


class Echo:
    """Nobody is subscribed here and nothing is parsed: messages go back before a dialect would see them."""

    name = "echo"
    needs_token = False

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        return _NONE

    def parse(self, message: object) -> Command:
        raise BadRequest("an echo connection takes no commands")

    def reply(self, reply: Reply, starting: StartingChannels) -> dict[str, object] | None:
        return None

    def delivery(self, publication: Publication) -> dict[str, object]:
        return {"event": publication.event, "data": publication.data}


ECHO: Final = Echo()
