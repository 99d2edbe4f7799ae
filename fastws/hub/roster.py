"""Who is connected: connection id to client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fastws.hub.ports import Member
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication


class Client(Member, Protocol):
    """A member as operators and endpoints see it."""

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
        """Seconds since the epoch, to the heartbeat's precision."""
        ...

    @property
    def address(self) -> str: ...
    @property
    def user_agent(self) -> str: ...

    @property
    def waiting(self) -> tuple[int, int] | None:
        """(messages, bytes) that wait for this client to read; None while nothing does."""
        ...

    def deliver_direct(self, publication: Publication) -> bool:
        """A publication for this client alone. Returns whether its queue took it. Raises Unencodable."""
        ...

    def deliver_raw(self, body: bytes) -> bool:
        """`body`, verbatim, as one message for this client alone. Returns whether its queue took it."""
        ...

    def revoke(self) -> None:
        """The client's token was revoked: close with 4401."""
        ...

    def end(self, code: int, reason: str, *, label: str) -> None:
        """Close with a close code and reason; `label` is the reason in metrics."""
        ...


class Roster:
    """All clients of this process, in the order they came."""

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
