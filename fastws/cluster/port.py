"""The interface of the cluster: endpoints and sessions use it with and without Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fastws.cluster.channel_list import ChannelList
from fastws.hub.ports import Receipt
from fastws.vocabulary.publication import Publication

# The answer to POST /broadcast for one message: figures, and the position if history keeps it.
Outcome = Mapping[str, int | str]
# Publishes the message with this id and returns its outcome.
Publish = Callable[[str], Awaitable[Outcome]]


@dataclass(slots=True, frozen=True)
class Totals:
    """Totals over all processes: the number of connections, and of channels with subscribers."""

    connections: int
    channels: int


class Cluster(Protocol):
    """All processes of an installation: `OneProcess` without Redis, `RedisCluster` with it."""

    async def totals(self) -> Totals:
        """Return the totals over all processes."""
        ...

    async def channels(self, is_wanted: Callable[[str], bool], limit: int) -> ChannelList:
        """Return the first `limit` channels with subscribers on any process for which `is_wanted` is true."""
        ...

    def subscribers(self, channel: str) -> int:
        """Return the number of subscribers of `channel`, over all processes."""
        ...

    def app_subscribers(self, channel: str) -> int:
        """Return the number of those of them that are clients of the app of the channel; 0 without an app."""
        ...

    async def connections_of(self, user: str) -> int:
        """Return the number of connections of `user`, over all processes."""
        ...

    async def dialect_connections(self, dialect: str) -> int:
        """Return the number of connections with `dialect`, over all processes."""
        ...

    async def realm_connections(self, realm: str) -> int:
        """Return the number of connections of an app, over all processes. Looks at each. Raises BrokerUnavailable."""
        ...

    async def page(
        self,
        *,
        user: str | None,
        channel: str | None,
        cursor: str | None,
        limit: int,
        client_id: str | None = None,
    ) -> tuple[list[dict[str, object]], str | None]:
        """Return up to `limit` connections with ids after `cursor`, by id, and the cursor of the next page or None."""
        ...

    async def describe(self, connection_id: str) -> dict[str, object] | None:
        """Describe one connection. Returns None if there is no such connection."""
        ...

    async def close(self, connection_id: str) -> bool:
        """Close a connection with 1000. Returns whether it existed."""
        ...

    def send(
        self, connection_id: str, publication: Publication, receipt: Receipt, message_id: str | None = None
    ) -> None:
        """Send to one connection on any process. `receipt` gets (1, 0), (0, 1) for a full queue or (0, 0) for gone."""
        ...

    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None:
        """Send `body` unchanged as one message to one connection on any process. `receipt` is called as by `send`."""
        ...

    async def revoke(self, *, token_id: str | None, user: str | None, expires_at: float | None = None) -> None:
        """Revoke a token, a user or both on every process. `expires_at` is the `exp` of the token, if known."""
        ...

    async def disconnect(self, realm: str, user: str) -> None:
        """Close the connections that have signed in as `user` of `realm`, everywhere. Raises BrokerUnavailable."""
        ...

    async def once(self, message_id: str, channel: str | None, connection_id: str | None, publish: Publish) -> Outcome:
        """Publish on `channel` or to a connection, if this is the first try with this id in 5 minutes on any process.

        Otherwise return the outcome of the first time, after waiting for it if necessary. `publish` passes the id on to
        the broker or to `send`. Raises what it raises.
        """
        ...
