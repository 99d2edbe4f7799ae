"""Opens a WebSocket to the server: its address, the credentials, and what a refused upgrade means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidHandshake, InvalidStatus

from fastws.client.backoff import refusal_of
from fastws.client.client_dialect import ClientDialect
from fastws.client.formats import Format
from fastws.client.keepalive import TimedConnection
from fastws.errors import BadRequest, FastWSError, Unavailable

CLOSE_SECONDS: Final = 2.0
_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


@dataclass(slots=True, frozen=True)
class Connector:
    """Opens connections to `url`. `options` are passed to `websockets.connect` (TLS context, proxy, …)."""

    url: str
    form: Format
    dialect: ClientDialect
    largest_message_bytes: int
    open_seconds: float
    options: dict[str, Any]

    async def connect(self, token: str | None, query: Mapping[str, str] | None = None) -> ClientConnection:
        """Open a connection, with `query` in addition to the query of the URL.

        Raises Unavailable if another attempt may succeed, another FastWSError if it cannot.
        """
        try:
            connection = await open_websocket(_with_query(self.url, query or {}), **self._settings(token))
        except InvalidStatus as error:
            raise self._refusal(error) from error
        except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
            raise Unavailable(
                f"cannot connect to {self.shown_url} ({error or type(error).__name__}): is `fastws serve` running?",
                retry_after_seconds=0,
            ) from error
        if connection.subprotocol != self.form.subprotocol:
            await connection.close()
            raise BadRequest(f"the server at {self.shown_url} does not support {self.form.name}; leave out `format`")
        return connection

    def _settings(self, token: str | None) -> dict[str, Any]:
        """The arguments of `websockets.connect` for a connection with this token."""
        headers = dict(self.options.get("additional_headers") or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"  # proxies log a token in the URL
        settings = {
            "max_size": self.largest_message_bytes,
            "open_timeout": self.open_seconds,
            "close_timeout": CLOSE_SECONDS,
            "user_agent_header": "fastws-client",
            "subprotocols": [self.form.subprotocol] if self.form.subprotocol else None,
            "create_connection": TimedConnection,
            **self.options,
            "additional_headers": headers,
        }
        if settings["create_connection"] is TimedConnection:
            settings["ping_interval"] = None  # keep_alive sends the pings
        return settings

    @property
    def shown_url(self) -> str:
        """The URL without its query, which may contain a token."""
        return urlunsplit(urlsplit(self.url)._replace(query=""))

    def _refusal(self, error: InvalidStatus) -> FastWSError:
        status = error.response.status_code
        final = refusal_of(status, self.shown_url)
        if final is not None:
            return final
        asked = error.response.headers.get("Retry-After", "")
        return Unavailable(
            f"{self.shown_url} answered the upgrade with {status}: full, draining or rate limited; try again later",
            retry_after_seconds=int(asked) if asked.isascii() and asked.isdigit() else 0,
        )


def _with_query(url: str, query: Mapping[str, str]) -> str:
    """`url` with the keys of `query` in place of its own keys of the same names."""
    parts = urlsplit(url)
    others = [(name, value) for name, value in parse_qsl(parts.query) if name not in query]
    return urlunsplit(parts._replace(query=urlencode([*others, *query.items()]))) if query else url


def find_url(url: str, dialect: ClientDialect, workspace_id: str | None) -> str:
    """The URL to connect to: `http` becomes `ws`, and a URL without a path gets the path of the dialect.

    Raises BadRequest if `url` is not a URL of a server.
    """
    parts = urlsplit(url.strip())
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise BadRequest(f"`url` must be like ws://host:8000 or wss://host/production, not {url!r}")
    query = parts.query
    if workspace_id is not None:
        others = [(name, value) for name, value in parse_qsl(query) if name != "workspace_id"]
        query = urlencode([*others, ("workspace_id", workspace_id)])
    path = parts.path if parts.path.strip("/") else dialect.path
    return urlunsplit((scheme, parts.netloc, path, query, ""))


def format_in(url: str) -> str | None:
    """The wire format that the query of `url` asks the server for."""
    return dict(parse_qsl(urlsplit(url).query)).get("format")
