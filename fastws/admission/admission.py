"""An admission: the result of the gate's checks of an upgrade, from which a connection is made."""

from __future__ import annotations

from dataclasses import dataclass

from fastws.codec.codec import Codec
from fastws.dialects.dialect import Dialect, StartingChannels
from fastws.vocabulary.identity import Identity
from fastws.wire.request import Request


@dataclass(slots=True)
class Admission:
    """An upgrade request that is admitted. `anonymous_allowed`: whether clients of this address need no token."""

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
        """The user of the token; None without a token."""
        return None if self.identity is None else self.identity.user
