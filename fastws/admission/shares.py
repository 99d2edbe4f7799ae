"""The shares of users and of addresses in the connections of a process, and what happens when one is full."""

from __future__ import annotations

from typing import Protocol

from fastws.hub.index import Index

# How long a client has to answer when its share is full and another client of it wants to connect.
PROBE_SECONDS = 5.0


class Probed(Protocol):
    """An upgraded connection."""

    def probe(self, seconds: float) -> None:
        """Ping the client now, and close the connection unless there is a sign of life within `seconds`."""
        ...


class Shares:
    """The connections of each user, or of each address, up to `limit`; 0 means no limit, and nothing is kept.

    A client whose network has changed often leaves a dead connection behind, which must not keep it out until it is
    found idle. So whenever a full share refuses a client, the connection that was probed longest ago, at first the
    oldest, is probed, and gives way if it does not answer.
    """

    __slots__ = ("_connections", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._connections: Index[Probed] = Index()

    def refuses(self, key: str) -> bool:
        """Whether the share of `key` is full. If so, one of its connections is probed."""
        if not self._limit or self._connections.count(key) < self._limit:
            return False
        self._connections.rotate(key).probe(PROBE_SECONDS)
        return True

    def add(self, key: str, connection: Probed) -> None:
        if self._limit:
            self._connections.add(key, connection)

    def remove(self, key: str, connection: Probed) -> None:
        if self._limit:
            self._connections.remove(key, connection)
