"""The gate: all checks of an upgrade, cheapest first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from fastws.access.hosts import AllowedHosts
from fastws.access.local_peers import LocalPeers, is_forwarded
from fastws.access.origins import AllowedOrigins
from fastws.access.proxies import TrustedProxies
from fastws.access.tokens import REFUSAL, REVOKED, token_from
from fastws.admission.admission import Admission
from fastws.admission.capacity import Capacity
from fastws.admission.shares import Probed
from fastws.callouts.event_hook import EventHook
from fastws.callouts.gateway_events import Caller, connect_event
from fastws.codec.json_text import JSON
from fastws.codec.negotiate import negotiate
from fastws.config import Config
from fastws.dialects.client_ids import CLIENT_ID, with_mailbox
from fastws.dialects.dialect import Dialect, IdScheme, StartingChannels
from fastws.dialects.mount import Mounts
from fastws.errors import (
    Draining,
    Forbidden,
    Misdirected,
    NotFound,
    ServerFull,
    Unauthorized,
    Unavailable,
)
from fastws.session.services import Services
from fastws.settings import public_host
from fastws.vocabulary.connection_ids import connection_ids
from fastws.vocabulary.identity import Identity
from fastws.wire.handshake import check_upgrade, subprotocols
from fastws.wire.http_reader import Request

# Orchestrators send these requests to an IP address, without one of the server's host names.
PROBES: Final = frozenset({"/health", "/ready"})
HOW_TO_AUTHENTICATE: Final = (
    "a token is required: send it as ?token=, as Authorization: Bearer, or as subprotocol fastws.token.<jwt>"
)
# Characters of a header that the log shows.
MAX_SHOWN: Final = 64


@dataclass(slots=True, kw_only=True, frozen=True)
class GateRules:
    """The settings, and what follows from them."""

    config: Config
    node_id: str
    allow_anonymous: bool
    local_peers: LocalPeers
    allowed_origins: AllowedOrigins
    allowed_hosts: AllowedHosts
    trusted_proxies: TrustedProxies
    descriptors: int


class Gate:
    """Admits upgrade requests, or raises the error with which they are refused."""

    def __init__(self, services: Services, mounts: Mounts, rules: GateRules) -> None:
        self._services = services
        self._mounts = mounts
        self._rules = rules
        self.capacity = Capacity(rules.config, services.counters, descriptors=rules.descriptors)
        self.handshake_seconds = rules.config.handshake_timeout
        self.keep_alive_seconds = rules.config.keep_alive_timeout
        # What no request has to be asked for: most servers allow all hosts and origins, and have no proxy.
        self.has_proxies = bool(rules.trusted_proxies)
        self.allows_all_hosts = rules.allowed_hosts.is_open
        self._public_host = public_host(rules.config)
        self._allows_all_origins = rules.allowed_origins.is_open
        # Whether all upgrades are refused.
        self.is_draining = False
        # Whether every response closes its connection, because the process is about to end.
        self.is_leaving = False
        self._emptied = asyncio.Event()
        self._ids = connection_ids(rules.node_id)
        self._other_ids: dict[IdScheme, Iterator[str]] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further client is upgraded."""
        return self.capacity.is_full

    @property
    def open_connections(self) -> int:
        """Number of connections with an open socket, including closing ones."""
        return self.capacity.connections

    def expects_proxy_header(self, peer: str) -> bool:
        """Whether the first bytes from `peer` must be a PROXY protocol header."""
        return self._rules.config.proxy_protocol and self._rules.trusted_proxies.trusts(peer)

    def is_proxy(self, peer: str) -> bool:
        """Whether `peer` is one of the trusted proxies."""
        return self._rules.trusted_proxies.trusts(peer)

    def client_address(self, request: Request, peer: str) -> str:
        """Return the address of the client: `peer`, or what a trusted proxy states in X-Forwarded-For."""
        return self._rules.trusted_proxies.client_address(peer, request.headers.get("x-forwarded-for"))

    def check_host(self, request: Request) -> None:
        """Raise Misdirected if the request's Host is not one of `allowed_hosts`."""
        if not self._rules.allowed_hosts.allows(request.headers.get("host")) and request.path not in PROBES:
            raise Misdirected(
                "host not allowed; the server's setting allowed_hosts lists the allowed names",
                cause=f"host {(request.header('host') or '')[:MAX_SHOWN]!r} is not in allowed_hosts",
            )

    def may_admit(self, request: Request) -> bool:
        """Whether the token of this upgrade may be verified in this loop turn. If not, await `admission_turn` first."""
        if self._services.verifications.is_idle:
            return True
        token = _token_of(request, subprotocols(request))
        return token is None or self._services.verifications.may_begin(token)

    async def admission_turn(self, request: Request) -> None:
        """Wait until the token of this upgrade may be verified."""
        token = _token_of(request, subprotocols(request))
        if token is not None:
            await self._services.verifications.turn(token)

    def admit(self, request: Request, address: str) -> Admission:
        """Run all checks that need no waiting. Raises the FastWSError with which the client is refused."""
        self._check_room()
        check_upgrade(request)
        if not self._allows_all_origins:
            self._check_origin(request)
        offered, query = subprotocols(request), request.query
        token = token_from(request.headers.get("authorization"), query, offered)
        dialect = self._mounts.find(request.path, has_token=token is not None)
        if dialect is None:
            raise _unknown_path(request)
        if dialect.has_own_access:
            return self._admit_on_its_terms(request, address, dialect)
        anonymous_allowed = self._may_be_anonymous(request, address)
        if token is None and (dialect.needs_token or not anonymous_allowed):
            self._refuse_without_token(request, dialect)
        identity = None if token is None else self._identify(token)
        codec, subprotocol = negotiate(offered, query.get("format"))
        starting = dialect.admit(identity, query)
        if query and CLIENT_ID in query:
            starting = with_mailbox(starting, identity, query)
        if starting.channels:
            self._check_starting_channels(starting, identity, dialect, anonymous_allowed=anonymous_allowed)
        if self.capacity.has_shares:
            self.capacity.check_shares(None if identity is None else identity.user, address)
        return Admission(
            request, address, next(self._ids), dialect, codec, subprotocol, identity, anonymous_allowed, starting
        )

    def _admit_on_its_terms(self, request: Request, address: str, dialect: Dialect) -> Admission:
        """Admit a client of a dialect that ignores tokens."""
        starting = dialect.admit_when_full() if self._is_full(dialect) else dialect.admit(None, request.query)
        if self.capacity.has_shares:
            self.capacity.check_shares(None, address)
        scheme, ids = dialect.id_scheme, self._ids
        if scheme is not None:
            known = self._other_ids.get(scheme)
            ids = self._other_ids[scheme] = scheme.of(self._rules.node_id) if known is None else known
        return Admission(request, address, next(ids), dialect, JSON, None, None, False, starting)  # noqa: FBT003

    def _is_full(self, dialect: Dialect) -> bool:
        """Whether the realm of `dialect` has as many connections as it may have."""
        limit, name, realm = dialect.max_connections, dialect.name, dialect.realm
        if not limit or realm is None:
            return False
        services = self._services
        elsewhere = services.realm_connections_elsewhere(name, realm)
        return services.roster.realm_connections(name, realm) + elsewhere >= limit

    def _check_origin(self, request: Request) -> None:
        if not self._rules.allowed_origins.allows(request.headers.get("origin")):
            raise Forbidden(
                "origin not allowed; the server's setting allowed_origins lists the allowed origins",
                reason="origin",
                cause=f"origin {(request.header('origin') or '')[:MAX_SHOWN]!r} is not in allowed_origins",
            )

    async def ask_application(self, admission: Admission, hook: EventHook) -> None:
        """Ask the application's event hook. Raises the FastWSError with which the client is refused."""
        caller = Caller(
            admission.connection_id,
            admission.request,
            address=admission.address,
            user=admission.user,
            connected_at=time.time(),
            public_host=self._public_host,
        )
        await hook.connect(caller, connect_event(caller, admission.request))
        # The hook may have taken seconds, so what can have changed is checked again.
        if self.is_draining:
            raise Draining()
        if self.is_full:
            raise ServerFull()
        self.capacity.check_shares(admission.user, admission.address)
        if admission.identity is not None and self._services.revocations.is_revoked(admission.identity):
            raise Unauthorized(REFUSAL, cause=REVOKED)

    def leave(self, connection: Probed, user: str | None, address: str) -> None:
        """Give back the share of a closed connection."""
        self.capacity.leave(connection, user, address)
        if not self.open_connections:
            self._emptied.set()

    async def until_empty(self) -> None:
        """Wait until no connection is open."""
        while self.open_connections:
            self._emptied.clear()
            await self._emptied.wait()

    def _check_room(self) -> None:
        if not self._rules.config.enable_realtime:
            raise Unavailable(
                "real-time connections are disabled: enable_realtime is false on this server",
                reason="switched_off",
                retry_after_seconds=60,
            )
        if self.is_draining:
            raise Draining()
        self.capacity.check()

    def _identify(self, token: str) -> Identity:
        identity = self._services.token_verifier.verify(token)
        if self._services.revocations.is_revoked(identity):
            raise Unauthorized(REFUSAL, cause=REVOKED)
        return identity

    def _check_starting_channels(
        self, starting: StartingChannels, identity: Identity | None, dialect: Dialect, *, anonymous_allowed: bool
    ) -> None:
        """Check the channels that the path implies. They may be protected, too, as the jobs feed is by a setting."""
        may_subscribe = self._services.permissions.may_subscribe
        for name in starting.channels:
            if not may_subscribe(identity, name, needs_token=dialect.needs_token, anonymous_allowed=anonymous_allowed):
                if identity is None:
                    raise Unauthorized(HOW_TO_AUTHENTICATE, cause=f"this path joins {name!r}, which requires a token")
                raise Forbidden(
                    "the token does not allow the channels of this path: get one whose claim `channels` names them",
                    cause=f"this path joins {name!r}",
                )

    def _refuse_without_token(self, request: Request, dialect: Dialect) -> NoReturn:
        """Raise Unauthorized, and tell the operator which setting decides. Behind a proxy that is often a riddle."""
        if dialect.needs_token:
            raise Unauthorized(HOW_TO_AUTHENTICATE, cause=f"{dialect.name} requires a token")
        if self._rules.config.allow_anonymous is not None:
            raise Unauthorized(HOW_TO_AUTHENTICATE, cause="allow_anonymous is false")
        if is_forwarded(request):
            raise Unauthorized(
                f"{HOW_TO_AUTHENTICATE}; behind a proxy all clients need one, unless the server sets allow_anonymous",
                reason="no_token_through_proxy",
                cause="a client behind a proxy needs a token, unless allow_anonymous is true",
            )
        raise Unauthorized(
            HOW_TO_AUTHENTICATE,
            cause="only direct clients on this machine need no token, unless allow_anonymous is true",
        )

    def _may_be_anonymous(self, request: Request, address: str) -> bool:
        """Whether this client needs no token.

        By default only local peers, and never through a proxy, behind which every client has a local address (spec 1).
        """
        if not self._rules.allow_anonymous:
            return False
        if self._rules.config.allow_anonymous is not None:
            return True
        return self._rules.local_peers.includes(request, address)


def _token_of(request: Request, offered: list[str]) -> str | None:
    return token_from(request.header("authorization"), request.query, offered)


def _unknown_path(request: Request) -> NotFound:
    return NotFound(
        f"no WebSocket endpoint at {request.path[:200]!r}; "
        "by default they are /, /ws and /api/v1/ws, and the server's setting mounts adds others"
    )
