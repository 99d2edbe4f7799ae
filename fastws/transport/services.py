"""What all connections of a process share. One object of each kind per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastws.config import Config
from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.transport.outbox import Bounds
from fastws.transport.write_batch import WriteBatch

if TYPE_CHECKING:
    from fastws.transport.heartbeat import Heartbeat
    from fastws.transport.lifecycle import Lifecycle


@dataclass(slots=True, frozen=True, kw_only=True)
class FrameLimits:
    """Bounds of what one connection may send and leave unread, from the settings of the same names."""

    message_bytes: int
    fragments: int
    outbox: Bounds

    @classmethod
    def of(cls, config: Config) -> FrameLimits:
        """The bounds that `config` sets."""
        return cls(
            message_bytes=config.max_message_bytes,
            fragments=config.max_fragments,
            outbox=Bounds(config.max_queue_messages, config.max_queue_bytes),
        )


@dataclass(slots=True, kw_only=True)
class TransportServices:
    """The parts of a server that its connections use."""

    limits: FrameLimits
    hub: Hub
    roster: Roster
    counters: Counters
    batch: WriteBatch
    heartbeat: Heartbeat
    lifecycle: Lifecycle
