"""What a client asks for, after its dialect was understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastws.vocabulary.filters import Filter

# Frozen for the type checker only, as in publication.py: one is made for every message that comes in.


@dataclass(slots=True, frozen=TYPE_CHECKING)
class Subscribe:
    channel: str


@dataclass(slots=True, frozen=TYPE_CHECKING)
class Unsubscribe:
    channel: str


@dataclass(slots=True, frozen=TYPE_CHECKING)
class Send:
    """Publish to a channel. `key` is for the conflate policy, `type` for rooms clients."""

    channel: str
    event: str
    data: object = None
    exclude_self: bool = False
    type: str | None = None
    key: str | None = None


@dataclass(slots=True, frozen=TYPE_CHECKING)
class SendDirect:
    """Send to one connection."""

    connection_id: str
    event: str
    data: object = None


@dataclass(slots=True, frozen=TYPE_CHECKING)
class Ping:
    pass


@dataclass(slots=True, frozen=TYPE_CHECKING)
class Refresh:
    """A new token for the same user."""

    token: str


@dataclass(slots=True, frozen=TYPE_CHECKING)
class ChangeFilter:
    """Narrow or widen what is heard on the client's home channel: `change` maps the filter in force to the new one.

    None is the filter that lets everything through.
    """

    change: Callable[[Filter | None], Filter | None]
    subscribed: bool = True


@dataclass(slots=True, frozen=TYPE_CHECKING)
class RequestMetrics:
    metric_type: str


Command = Subscribe | Unsubscribe | Send | SendDirect | Ping | Refresh | ChangeFilter | RequestMetrics
