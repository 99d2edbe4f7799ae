"""The services that all sessions of a process share: settings, hub, broker, access, counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from fastws.access.permissions import Permissions
from fastws.access.revocation import Revocations
from fastws.access.tokens import Tokens
from fastws.callouts.authorizer import Authorizer
from fastws.config import Config
from fastws.counters import Counters
from fastws.dialects.mount import Mounts
from fastws.dialects.wire_form import DialectForm
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker, History, Members, Receipt, Reports
from fastws.hub.roster import Roster
from fastws.logs import LogLevel
from fastws.session.ports import ExpiryWatch, ReplyBatch, Spawn
from fastws.session.recovery import ReplayedFrames
from fastws.session.verifications import Verifications
from fastws.vocabulary.commands import RequestId
from fastws.vocabulary.publication import Publication

if TYPE_CHECKING:
    from fastws.callouts.event_hook import EventHook
    from fastws.session.session import Session

log = structlog.stdlib.get_logger("fastws.connection")

ACK_CACHE_SIZE = 1024

SendElsewhere = Callable[[str, Publication, Receipt], None]
CommandHandler = Callable[["Session", Any, RequestId], None]
MetricsSource = Callable[[str, str, Callable[[object], None]], None]


@dataclass(slots=True, kw_only=True)
class Services:
    """The parts of the server that sessions use. One object per process."""

    # For max_channels_per_connection, max_channels, message_rate and message_burst.
    config: Config
    # The function for each type of command. A table, so that Session does not depend on single commands.
    commands: Mapping[type, CommandHandler]
    mounts: Mounts
    hub: Hub
    broker: Broker
    # None without the setting `history`.
    history: History | None
    members: Members
    # None without webhooks.
    reports: Reports | None
    roster: Roster
    counters: Counters
    permissions: Permissions
    token_verifier: Tokens
    revocations: Revocations
    authorizer: Authorizer | None
    verifications: Verifications
    # Runs a coroutine as a background task.
    spawn: Spawn
    expiry: ExpiryWatch
    batch: ReplyBatch
    # Sends a publication to a connection on another node; the receipt gets the result.
    send_elsewhere: SendElsewhere
    # Returns the number of connections of a dialect's realm on all other processes.
    realm_connections_elsewhere: Callable[[str, str], int]
    # Finds the data for `request_metrics`: (workspace channel, metric type, answer).
    metrics_source: MetricsSource
    log_level: LogLevel
    # Monotonic seconds, for rate limits.
    clock: Callable[[], float] = time.monotonic
    # The application's event hook, if one is configured.
    hook: EventHook | None = None
    # Channels without members that the broker was asked to receive, and the number of clients that wait for each.
    pending_channels: dict[str, int] = field(default_factory=dict)
    # Channels whose past is being read for clients that join then, and the number of these clients.
    recovering: dict[str, int] = field(default_factory=dict)
    replayed_frames: ReplayedFrames = field(default_factory=ReplayedFrames)
    # Frames of recent acknowledgements, see acknowledgements.py.
    acks: dict[tuple[DialectForm, str | None, str | None, int, int], tuple[bytes, dict[str, object]]] = field(
        default_factory=dict
    )
