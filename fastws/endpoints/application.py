"""The parts of the server that the endpoints use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from fastws.access.broadcast_key import BroadcastKeys
from fastws.access.local_peers import LocalPeers
from fastws.access.permissions import Permissions
from fastws.access.rate_limit import Bucket
from fastws.access.revocation import Revocations
from fastws.access.sigv4 import AwsCredentials
from fastws.access.tokens import Tokens
from fastws.cluster.port import Cluster
from fastws.counters import Counters
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker, History
from fastws.hub.roster import Roster
from fastws.logs import LogLevel
from fastws.vocabulary.identity import Identity


class Status(Protocol):
    """The state that `/ready` reports."""

    @property
    def is_draining(self) -> bool: ...
    @property
    def is_full(self) -> bool: ...
    @property
    def is_broker_up(self) -> bool: ...
    @property
    def redis_away(self) -> list[str]: ...


@dataclass(slots=True, kw_only=True)
class Application:
    """The parts of a server that its endpoints use."""

    hub: Hub
    broker: Broker
    # None without the setting `history`.
    history: History | None
    roster: Roster
    counters: Counters
    log_level: LogLevel
    cluster: Cluster
    status: Status
    tokens: Tokens
    revocations: Revocations
    permissions: Permissions
    has_authorizer: bool
    broadcast_keys: BroadcastKeys
    aws_credentials: AwsCredentials
    # Whether a broadcast key, a JWT key or AWS credentials are configured. Keys generated at start do not count.
    has_configured_keys: bool
    local_peers: LocalPeers
    broadcast_bucket: Bucket | None
    identify: Callable[[str | None], Awaitable[Identity]]
    max_message_bytes: int
    # Held while one request lists channels.
    listing: asyncio.Lock = field(default_factory=asyncio.Lock)
