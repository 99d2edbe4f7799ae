"""The roster: all clients of this process by connection id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fastws.hub.ports import Member
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication


class Client(Member, Protocol):
    """A connected client as the endpoints see it."""

    @property
    def identity(self) -> Identity | None: ...
    @property
    def dialect_name(self) -> str: ...
    @property
    def codec_name(self) -> str: ...
    @property
    def channel_names(self) -> list[str]: ...
    @property
    def connected_at(self) -> float:
        """Seconds since the epoch."""
        ...

    @property
    def last_active_at(self) -> float:
        """Seconds since the epoch, with the precision of a heartbeat round."""
        ...

    @property
    def address(self) -> str: ...
    @property
    def user_agent(self) -> str: ...

    @property
    def waiting(self) -> tuple[int, int] | None:
        """(messages, bytes) queued for this client; None if nothing is queued."""
        ...

    def deliver_direct(self, publication: Publication) -> bool:
        """Send `publication` to this client only. Returns False if its queue is full. Raises Unencodable."""
        ...

    def deliver_raw(self, body: bytes) -> bool:
        """Send `body` unchanged as one message to this client only. Returns False if its queue is full."""
        ...

    def revoke(self) -> None:
        """Close with 4401 because the client's token was revoked."""
        ...

    def end(self, code: int, reason: str, *, label: str) -> None:
        """Close with `code` and `reason`; `label` is the reason in metrics."""
        ...


class Roster:
    """All clients of this process, in the order in which they connected."""

    __slots__ = ("clients",)

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}

    def __len__(self) -> int:
        return len(self.clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(self.clients.values())

    def get(self, connection_id: str) -> Client | None:
        return self.clients.get(connection_id)

    def add(self, client: Client) -> None:
        self.clients[client.id] = client

    def remove(self, client: Client) -> None:
        self.clients.pop(client.id, None)
