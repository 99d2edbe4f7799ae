"""The cluster of one process, without Redis."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping
from itertools import chain

from fastws.access.revocation import Revocations
from fastws.cluster.app_subscribers import AppSubscribers
from fastws.cluster.channel_list import SLICE, ChannelList, list_channels
from fastws.cluster.message_ids import MessageIds
from fastws.cluster.port import Outcome, Publish, Totals
from fastws.errors import FastWSError
from fastws.hub.hub import Hub
from fastws.hub.ports import Receipt
from fastws.hub.roster import Client, Roster
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.values import timestamp


def description(client: Client) -> dict[str, object]:
    """Describe a connection in the format of `GET /connections`."""
    client_id = client.client_id
    return {
        "id": client.id,
        "user": client.user,
        **({} if client_id is None else {"client_id": client_id}),
        "dialect": client.dialect_name,
        "codec": client.codec_name,
        "channels": client.channel_names,
        "connected_at": timestamp(client.connected_at),
        "address": client.address,
        "user_agent": client.user_agent,
        "last_active_at": timestamp(client.last_active_at),
    }


class OneProcess:
    """A Cluster that consists of this process alone."""

    def __init__(
        self,
        hub: Hub,
        roster: Roster,
        revocations: Revocations,
        apps: AppSubscribers | None = None,
    ) -> None:
        """`apps` counts the subscribers that are clients of an app; None without apps."""
        self._hub = hub
        self._roster = roster
        self._revocations = revocations
        self._apps = apps
        self._message_ids = MessageIds()

    async def start(self) -> None:
        """Does nothing: there are no other processes."""

    async def stop(self) -> None:
        """Does nothing: there are no other processes."""

    def realm_connections_elsewhere(self, dialect: str, realm: str) -> int:
        """Return 0: there are no other processes."""
        return 0

    async def totals(self) -> Totals:
        return Totals(len(self._roster), len(self._hub.channels))

    async def channels(self, is_wanted: Callable[[str], bool], limit: int) -> ChannelList:
        return await list_channels(self._hub.channels, is_wanted, limit)

    def subscribers(self, channel: str) -> int:
        return self._hub.count(channel)

    def app_subscribers(self, channel: str) -> int:
        return 0 if self._apps is None else self._apps.clients(channel)

    async def connections_of(self, user: str) -> int:
        return self._roster.by_user.count(user)

    async def dialect_connections(self, dialect: str) -> int:
        return self._roster.dialects().get(dialect, 0)

    async def realm_connections(self, realm: str) -> int:
        clients, count = list(self._roster), 0
        for start in range(0, len(clients), SLICE):
            if start:
                await asyncio.sleep(0)
            count += sum(client.realm == realm for client in clients[start : start + SLICE])
        return count

    async def page(
        self,
        *,
        user: str | None,
        channel: str | None,
        cursor: str | None,
        limit: int,
        client_id: str | None = None,
    ) -> tuple[list[dict[str, object]], str | None]:
        clients = self._clients(user, client_id)
        wanted: list[Client] = []
        for start in range(0, len(clients), SLICE):
            if start:
                await asyncio.sleep(0)
            some = (client for client in clients[start : start + SLICE] if client.id > (cursor or ""))
            matching = (client for client in some if channel is None or channel in client.channel_names)
            wanted = heapq.nsmallest(limit + 1, chain(wanted, matching), key=lambda client: client.id)
        page = [description(client) for client in wanted[:limit]]
        return page, (wanted[limit - 1].id if len(wanted) > limit else None)

    def _clients(self, user: str | None, client_id: str | None) -> list[Client]:
        roster = self._roster
        if client_id is None:
            return list(roster) if user is None else roster.by_user.of(user)
        clients = roster.by_client_id.of(client_id)
        return [client for client in clients if user is None or (client.identity and client.identity.user == user)]

    async def describe(self, connection_id: str) -> dict[str, object] | None:
        client = self._roster.get(connection_id)
        return None if client is None else description(client)

    async def close(self, connection_id: str) -> bool:
        client = self._roster.get(connection_id)
        if client is None:
            return False
        self._hub.flush_channels_of(client)
        client.end(1000, "closed by the server's operator", label="operator")
        return True

    def send(
        self, connection_id: str, publication: Publication, receipt: Receipt, message_id: str | None = None
    ) -> None:
        self._deliver(connection_id, lambda client: client.deliver_direct(publication), receipt)

    def send_raw(self, connection_id: str, body: bytes, receipt: Receipt) -> None:
        self._deliver(connection_id, lambda client: client.deliver_raw(body), receipt)

    def _deliver(self, connection_id: str, deliver: Callable[[Client], bool], receipt: Receipt) -> None:
        client = self._roster.get(connection_id)
        if client is None:
            receipt.done(0, 0)
            return
        try:
            delivered = deliver(client)
        except FastWSError as error:
            receipt.refused(error)
            return
        receipt.done(int(delivered), int(not delivered))

    async def revoke(self, *, token_id: str | None, user: str | None, expires_at: float | None = None) -> None:
        if token_id is not None:
            self.enforce(self._revocations.revoke_token(token_id, expires_at))
        if user is not None:
            self.enforce(self._revocations.revoke_user(user))

    def enforce(self, change: Mapping[str, Mapping[str, float]]) -> None:
        """Disconnect the clients whose tokens the revocations in `change` concern."""
        for table, index in (("tokens", self._roster.by_token), ("users", self._roster.by_user)):
            for name in change.get(table, ()):
                for client in index.of(name):
                    if client.identity is not None and self._revocations.is_revoked(client.identity):
                        client.revoke()

    async def disconnect(self, realm: str, user: str) -> None:
        self.disconnect_here(realm, user)

    def disconnect_here(self, realm: str, user: str) -> None:
        """Close the connections of this process that have signed in as `user` of `realm`."""
        for client in self._roster.signed_in(realm, user):
            self._hub.flush_channels_of(client)
            client.end(1008, "closed by the application", label="terminated")

    async def once(self, message_id: str, channel: str | None, connection_id: str | None, publish: Publish) -> Outcome:
        return await self._message_ids.once(message_id, publish)
