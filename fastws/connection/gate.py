"""The gate: who is let in. Every check of an upgrade, in the order in which a refusal costs least."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from fastws.access.rate_limit import Bucket, address_key
from fastws.access.tokens import token_from
from fastws.codec.codec import Codec
from fastws.codec.negotiate import negotiate
from fastws.connection.context import Context
from fastws.connection.echo import EchoSession
from fastws.connection.protocol import Connection
from fastws.connection.session import Session
from fastws.connection.wireform import Compression, DialectForm
from fastws.dialects.dialect import Dialect, Place
from fastws.dialects.mount import Mounts
from fastws.errors import (
    FastWSError,
    Forbidden,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from fastws.vocabulary.identity import Identity
from fastws.wire.deflate import Deflate
from fastws.wire.deflate import negotiate as negotiate_deflate
from fastws.wire.handshake import accept_response, check_upgrade, subprotocols
from fastws.wire.http_messages import Request

log = structlog.stdlib.get_logger("fastws.gate")

MAX_USER_AGENT_LENGTH: Final = 256


@dataclass(slots=True, kw_only=True, frozen=True)
class GateRules:
    """Settings of the same names."""

    node_id: str
    allow_anonymous: bool
    anonymous_was_set: bool
    enable_realtime: bool
    allowed_origins: tuple[str, ...]
    max_connections: int
    max_connections_per_user: int
    max_connections_per_ip: int
    connect_rate: float
    handshake_seconds: float
    compression: bool
    compression_level: int
    compression_min_bytes: int


class Gate:
    """Turns requests into connections, or into the errors that say why not."""

    def __init__(self, context: Context, mounts: Mounts, rules: GateRules) -> None:
        self._context = context
        self._mounts = mounts
        self._rules = rules
        self._forms: dict[tuple[str, str, int], DialectForm] = {}
        self._by_address: dict[str, int] = defaultdict(int)
        self._by_user: dict[str, int] = defaultdict(int)
        self._connects = Bucket(rules.connect_rate, max(rules.connect_rate, 1.0)) if rules.connect_rate else None
        self.handshake_seconds = rules.handshake_seconds
        self.is_draining = False
        # Sockets that are accepted and not upgraded; connections whose socket is open, closing ones too.
        self.sockets = 0
        self.open_connections = 0

    @property
    def is_full(self) -> bool:
        return bool(self._rules.max_connections) and len(self._context.roster) >= self._rules.max_connections

    def admit(self, request: Request, transport: asyncio.Transport, address: str) -> Connection:
        """Let a client in: checks, the 101, its greeting. Raises the FastWSError that refuses it."""
        self._check_room()
        check_upgrade(request)
        self._check_origin(request.header("origin"))
        offered = subprotocols(request)
        token = token_from(request.header("authorization"), request.query, offered)
        dialect = self._mounts.find(request.path, has_token=token is not None)
        if dialect is None:
            raise NotFound(f"no WebSocket is served at {request.path[:200]!r}")
        identity = self._identify(token, dialect, request, address)
        codec, subprotocol = negotiate(offered, request.query.get("format"))
        place = dialect.admit(identity, request.query)
        self._check_shares(identity, address)
        return self._open(request, transport, address, dialect, codec, identity, place, subprotocol)

    def count_refusal(self, error: FastWSError) -> None:
        self._context.counters.refused[(error.status, error.code)] += 1

    def _check_room(self) -> None:
        if not self._rules.enable_realtime:
            raise Unavailable("real-time connections are switched off", retry_after_seconds=60)
        if self.is_draining:
            raise Unavailable("the server is stopping; connect again", retry_after_seconds=1)
        if self.is_full:
            raise Unavailable("the server is full; come again later", retry_after_seconds=5)
        if self._connects is not None and not self._connects.take(1, time.monotonic()):
            self._context.counters.rate_limited["connect"] += 1
            raise Unavailable("too many connections are being opened; come again in a second", retry_after_seconds=1)

    def _check_origin(self, origin: str | None) -> None:
        """Browsers send an origin, other clients need not (RFC 6455 section 10.2)."""
        allowed = self._rules.allowed_origins
        if origin is None or "*" in allowed:
            return
        if not any(_origin_matches(pattern, origin) for pattern in allowed):
            raise Forbidden("this origin may not connect; the server's allowed_origins names those that may")

    def _identify(self, token: str | None, dialect: Dialect, request: Request, address: str) -> Identity | None:
        if token is None:
            if dialect.needs_token or not self._may_be_anonymous(request, address):
                _refuse_without_token()
            return None
        identity = self._context.tokens.verify(token)
        if self._context.revocations.is_revoked(identity):
            raise Unauthorized("the token does not hold")
        return identity

    def _may_be_anonymous(self, request: Request, address: str) -> bool:
        """By default only direct peers on this machine: behind a proxy everybody looks like one (spec 1)."""
        if not self._rules.allow_anonymous:
            return False
        if self._rules.anonymous_was_set:
            return True
        return request.header("forwarded") is None and request.header("x-forwarded-for") is None

    def _check_shares(self, identity: Identity | None, address: str) -> None:
        rules = self._rules
        if rules.max_connections_per_ip and self._by_address[address_key(address)] >= rules.max_connections_per_ip:
            self._context.counters.rate_limited["address"] += 1
            raise RateLimited("too many connections from this address")
        if (
            identity is not None
            and rules.max_connections_per_user
            and self._by_user[identity.user] >= rules.max_connections_per_user
        ):
            self._context.counters.rate_limited["user"] += 1
            raise RateLimited("too many connections of this user")

    def _open(
        self,
        request: Request,
        transport: asyncio.Transport,
        address: str,
        dialect: Dialect,
        codec: Codec,
        identity: Identity | None,
        place: Place,
        subprotocol: str | None,
    ) -> Connection:
        context = self._context
        transport.set_write_buffer_limits(high=0)
        deflate = self._negotiate_deflate(request)
        connection = Connection(
            context,
            transport,
            self._rules.node_id + secrets.token_urlsafe(16),
            address=sys.intern(address),
            user_agent=sys.intern((request.header("user-agent") or "")[:MAX_USER_AGENT_LENGTH]),
            deflate=deflate,
        )
        form = self._form(dialect, codec, deflate)
        kind = EchoSession if dialect.name == "echo" else Session
        connection.session = session = kind(context, connection, form, identity, place)
        context.roster.add(connection)
        context.counters.opened[dialect.name] += 1
        self.open_connections += 1
        if identity is not None:
            self._by_user[identity.user] += 1
            context.heartbeat.watch_expiry(connection, identity.expires_at)
        self._by_address[address_key(address)] += 1
        session.cork = [accept_response(request, subprotocol=subprotocol, extensions=None if deflate is None else deflate.response)]
        session.begin()
        session.uncork()
        return connection

    def _negotiate_deflate(self, request: Request) -> Deflate | None:
        offers = request.header("sec-websocket-extensions")
        return None if offers is None or not self._rules.compression else negotiate_deflate(offers)

    def _form(self, dialect: Dialect, codec: Codec, deflate: Deflate | None) -> DialectForm:
        window_bits = 0 if deflate is None else deflate.window_bits
        key = (dialect.name, codec.name, window_bits)
        form = self._forms.get(key)
        if form is None:
            rules = self._rules
            compression = (
                Compression(rules.compression_level, rules.compression_min_bytes, window_bits) if window_bits else None
            )
            form = self._forms[key] = DialectForm(dialect, codec, compression)
        return form

    def left(self, connection: Connection) -> None:
        """`connection` is gone: its share of user and address is free again."""
        self.open_connections -= 1
        _decrement(self._by_address, address_key(connection.address))
        identity = connection.identity
        if identity is not None:
            _decrement(self._by_user, identity.user)


def _refuse_without_token() -> NoReturn:
    raise Unauthorized("a token is needed: ?token=, Authorization: Bearer, or subprotocol fastws.token.<jwt>")


def _decrement(counts: dict[str, int], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def _origin_matches(pattern: str, origin: str) -> bool:
    """`*` in a pattern stands for one or more characters that are no slash: https://*.example.com."""
    if "*" not in pattern:
        return pattern == origin
    head, _, tail = pattern.partition("*")
    return (
        len(origin) > len(head) + len(tail)
        and origin.startswith(head)
        and origin.endswith(tail)
        and "/" not in origin[len(head) : len(origin) - len(tail)]
    )
