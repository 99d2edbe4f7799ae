"""Replies and notices for one client, independent of its dialect."""

from __future__ import annotations

from dataclasses import dataclass

from fastws.vocabulary.filters import Filter
from fastws.vocabulary.values import fast_dataclass


@dataclass(slots=True, frozen=True)
class Connected:
    """The first message to a client."""

    connection_id: str
    workspace: str | None = None


@dataclass(slots=True, frozen=True)
class Subscribed:
    channel: str


@dataclass(slots=True, frozen=True)
class Unsubscribed:
    channel: str


@fast_dataclass
class Sent:
    """The result of a Send to `channel` or a SendDirect to `connection_id`."""

    channel: str | None
    connection_id: str | None
    sent: int
    failed: int


@dataclass(slots=True, frozen=True)
class Pong:
    pass


@dataclass(slots=True, frozen=True)
class Failure:
    """An error. `code` is one of the error codes in spec 3.1."""

    code: str
    message: str
    channel: str | None = None


@dataclass(slots=True, frozen=True)
class Gap:
    """The client may have missed publications on `channel`."""

    channel: str


@dataclass(slots=True, frozen=True)
class Lag:
    """`dropped` publications on `channel` were not delivered, because the client reads too slowly."""

    channel: str
    dropped: int


@dataclass(slots=True, frozen=True)
class Refreshed:
    """The new token was accepted. It is valid until `expires` (seconds since the epoch)."""

    expires: float


@dataclass(slots=True, frozen=True)
class Left:
    """The client was unsubscribed from `channel`, because its new token does not allow it."""

    channel: str


@dataclass(slots=True, frozen=True)
class FilterChanged:
    """The current filter. None: all publications are delivered."""

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
