"""Opening: turns an admitted request into a connection, and writes the 101 response and the greeting together."""

from __future__ import annotations

import asyncio
from typing import Final

from fastws.admission.admission import Admission
from fastws.codec.codec import Codec
from fastws.config import Config
from fastws.dialects.dialect import Dialect
from fastws.dialects.wire_form import Compression, DialectForm
from fastws.session.prioritized_session import PrioritizedSession
from fastws.session.services import Services
from fastws.session.session import Session
from fastws.session.starting import join_starting_channels
from fastws.transport import closing
from fastws.transport.services import TransportServices
from fastws.transport.websocket import Connection
from fastws.wire.deflate import Deflate
from fastws.wire.deflate import negotiate as negotiate_deflate
from fastws.wire.handshake import accept_response
from fastws.wire.request import Request

MAX_USER_AGENT_LENGTH: Final = 256
MAX_SHARED_STRINGS: Final = 1024


class Opening:
    """Opens connections. Shares one wire form among all clients with the same dialect, codec and compression."""

    __slots__ = (
        "_compresses",
        "_config",
        "_forms",
        "_is_tls",
        "_make_session",
        "_services",
        "_strings",
        "_transport_services",
    )

    def __init__(
        self, services: Services, transport_services: TransportServices, config: Config, *, is_tls: bool
    ) -> None:
        self._services = services
        self._transport_services = transport_services
        self._config = config
        self._compresses = config.compression == "on"
        self._is_tls = is_tls
        self._make_session = Session if transport_services.priorities is None else PrioritizedSession
        self._forms: dict[tuple[Dialect, str, bool], DialectForm] = {}
        # Addresses and user agents: equal ones are one string. Not interned, since Python 3.12.1 keeps those forever.
        self._strings: dict[str, str] = {}

    def open(self, admission: Admission, transport: asyncio.Transport) -> Connection:
        """Open the connection of an admitted client, which takes over `transport`."""
        deflate = self._negotiate_deflate(admission.request) if self._compresses else None
        connection = self._make(admission, transport, deflate)
        session, identity = connection.session, admission.identity
        self._take_over(transport, connection)
        lifecycle = self._transport_services.lifecycle
        if identity is None:
            lifecycle.opened(connection, session.form.dialect.name, None, None)
        else:
            expires_at = identity.expires_at + self._services.token_verifier.leeway_seconds
            lifecycle.opened(connection, session.form.dialect.name, identity.user, expires_at)
        extensions = None if deflate is None else deflate.response
        try:
            response = accept_response(admission.request, subprotocol=admission.subprotocol, extensions=extensions)
            session.cork = [response]
            join_starting_channels(session)
            session.uncork()
            lifecycle.log.opened(connection)
        except BaseException:
            closing.abandon(connection)
            raise
        return connection

    def _make(self, admission: Admission, transport: asyncio.Transport, deflate: Deflate | None) -> Connection:
        """Make the connection and its session."""
        strings = self._strings
        if len(strings) >= MAX_SHARED_STRINGS:
            strings.clear()
        address = admission.address
        user_agent = (admission.request.header("user-agent") or "")[:MAX_USER_AGENT_LENGTH]
        connection = Connection(
            self._transport_services,
            transport,
            admission.connection_id,
            address=strings.setdefault(address, address),
            user_agent=strings.setdefault(user_agent, user_agent),
            deflate=deflate,
        )
        form = self._form(admission.dialect, admission.codec, deflate)
        connection.session = session = self._make_session(
            self._services, connection, form, admission.identity, admission.starting
        )
        session.anonymous_allowed = admission.anonymous_allowed
        return connection

    def _take_over(self, transport: asyncio.Transport, connection: Connection) -> None:
        """Make `connection` the protocol of `transport`, then set the write limits, in this order.

        If the transport still has buffered data, of earlier responses or of the TLS handshake, setting the limits calls
        `pause_writing`, and `resume_writing` follows later. Both must go to the same protocol.
        """
        transport.set_protocol(connection)
        # Pause as soon as the kernel takes less than all. uvloop's TLS compares with >=, plain sockets with >.
        transport.set_write_buffer_limits(high=1 if self._is_tls else 0, low=0)

    def _negotiate_deflate(self, request: Request) -> Deflate | None:
        offers = request.header("sec-websocket-extensions")
        if offers is None or request.query.get("compression") == "off":
            return None
        return negotiate_deflate(offers)

    def _form(self, dialect: Dialect, codec: Codec, deflate: Deflate | None) -> DialectForm:
        key = (dialect, codec.name, deflate is not None)
        form = self._forms.get(key)
        if form is None:
            level, min_bytes = self._config.compression_level, self._config.compression_min_bytes
            compression = None if deflate is None else Compression(level, min_bytes)
            form = self._forms[key] = DialectForm(dialect, codec, compression)
        return form
