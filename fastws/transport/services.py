"""The services that all connections of a process share."""

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
    """Limits of what one connection may send and leave unread."""

    message_bytes: int
    fragments: int
    outbox: Bounds

    @classmethod
    def of(cls, config: Config) -> FrameLimits:
        """Create the limits from the settings max_message_bytes, max_fragments and max_queue_*."""
        return cls(
            message_bytes=config.max_message_bytes,
            fragments=config.max_fragments,
            outbox=Bounds(config.max_queue_messages, config.max_queue_bytes),
        )


@dataclass(slots=True, kw_only=True)
class TransportServices:
    """The parts of the server that connections use. One object per process."""

    limits: FrameLimits
    hub: Hub
    roster: Roster
    counters: Counters
    batch: WriteBatch
    heartbeat: Heartbeat
    lifecycle: Lifecycle
