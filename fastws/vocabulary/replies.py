"""What the server answers or tells one client, before its dialect puts it in words."""

from __future__ import annotations

from dataclasses import dataclass

from fastws.vocabulary.fast_dataclass import frozen
from fastws.vocabulary.filters import Filter


@dataclass(slots=True, frozen=True)
class Connected:
    """The first thing a client hears."""

    connection_id: str
    workspace: str | None = None


@dataclass(slots=True, frozen=True)
class Subscribed:
    channel: str


@dataclass(slots=True, frozen=True)
class Unsubscribed:
    channel: str


@frozen
class Sent:
    """How a send ended: to `channel`, or to one connection (`connection_id`)."""

    channel: str | None
    connection_id: str | None
    sent: int
    failed: int


@dataclass(slots=True, frozen=True)
class Pong:
    pass


@dataclass(slots=True, frozen=True)
class Failure:
    """Anything wrong. `code` is one of spec 3.1's error codes."""

    code: str
    message: str
    channel: str | None = None


@dataclass(slots=True, frozen=True)
class Gap:
    """Publications on `channel` may have been missed."""

    channel: str


@dataclass(slots=True, frozen=True)
class Lag:
    """`dropped` publications on `channel` were not delivered because this client did not read."""

    channel: str
    dropped: int


@dataclass(slots=True, frozen=True)
class Refreshed:
    """The new token holds until `expires` (seconds since the epoch)."""

    expires: float


@dataclass(slots=True, frozen=True)
class Left:
    """The new token no longer allows `channel`: the client was taken off it."""

    channel: str


@dataclass(slots=True, frozen=True)
class FilterChanged:
    """The filter now in force; None hears everything."""

    filter: Filter | None
    subscribed: bool = True


@dataclass(slots=True, frozen=True)
class Metrics:
    metric_type: str
    data: object


Reply = (
    Connected
    | Subscribed
    | Unsubscribed
    | Sent
    | Pong
    | Failure
    | Gap
    | Lag
    | Refreshed
    | Left
    | FilterChanged
    | Metrics
)
