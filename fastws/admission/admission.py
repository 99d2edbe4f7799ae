"""An admission: all that the gate has found out of an upgrade, before it becomes a connection."""

from __future__ import annotations

from dataclasses import dataclass

from fastws.codec.codec import Codec
from fastws.dialects.dialect import Dialect, StartingChannels
from fastws.vocabulary.identity import Identity
from fastws.wire.request import Request


@dataclass(slots=True)
class Admission:
    """A request that may come in. `anonymous_allowed` says whether somebody from there needs no token."""

    request: Request
    address: str
    connection_id: str
    dialect: Dialect
    codec: Codec
    subprotocol: str | None
    identity: Identity | None
    anonymous_allowed: bool
    starting: StartingChannels

    @property
    def user(self) -> str | None:
        return None if self.identity is None else self.identity.user
