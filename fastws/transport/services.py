"""The services that all connections of a process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastws.config import Config
from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.transport.outbox import Bounds
from fastws.transport.write_batch import WriteBatch
from fastws.vocabulary.channel_table import ChannelTable
from fastws.wire.client_windows import ClientWindows

if TYPE_CHECKING:
    from fastws.transport.heartbeat import Heartbeat
    from fastws.transport.lifecycle import Lifecycle


@dataclass(slots=True, kw_only=True)
class TransportServices:
    """The parts of the server that connections use. One object per process."""

    # For max_message_bytes and max_fragments.
    config: Config
    # Of each outbox: max_queue_messages and max_queue_bytes.
    bounds: Bounds
    # "high" or "low" for the channels that have a priority; None without the setting `priority`.
    priorities: ChannelTable[str] | None
    hub: Hub
    roster: Roster
    counters: Counters
    batch: WriteBatch
    heartbeat: Heartbeat
    lifecycle: Lifecycle
    windows: ClientWindows = field(default_factory=ClientWindows)
