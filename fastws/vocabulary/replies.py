"""Replies and notices for one client, independent of its dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastws.vocabulary.filters import Filter
from fastws.vocabulary.positions import Position
from fastws.vocabulary.presence import ChannelMember, MemberAdded, MemberRemoved, PresencePage, PresenceUpdate
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.values import fast_dataclass


@dataclass(slots=True, frozen=True)
class Standing:
    """The place of a new subscriber in a channel with a history: `position` is that of the newest publication.

    The next `replayed` deliveries are of the past. `recovered` says whether they are everything after the position
    that the client gave; None if it gave none. `position` is None while the history cannot be read.
    """

    position: Position | None
    recovered: bool | None = None
    replayed: int | None = None


@dataclass(slots=True, frozen=True)
class MailboxStanding:
    """The mailbox that a client has joined. `standing` is its place there, if mailboxes have a history."""

    channel: str
    standing: Standing | None


@dataclass(slots=True, frozen=True)
class Connected:
    """The first message to a client. `standing` is where it stands in its first channel, if that has a history.

    `mailbox` is its place in its mailbox, if it has one.
    """

    connection_id: str
    workspace: str | None = None
    standing: Standing | None = None
    mailbox: MailboxStanding | None = None


@dataclass(slots=True, frozen=True)
class Subscribed:
    """`members` are all users in the channel, the client itself included; None for a channel without members."""

    channel: str
    standing: Standing | None = None
    members: Sequence[ChannelMember] | None = None


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
    position: Position | None = None


@dataclass(slots=True, frozen=True)
class Pong:
    """The answer to a ping. Everything up to `position` of the client's home channel was handed over before it."""

    position: Position | None = None


@dataclass(slots=True, frozen=True)
class Failure:
    """An error. `code` is one of the error codes in spec 3.1."""

    code: str
    message: str
    channel: str | None = None


@dataclass(slots=True, frozen=True)
class Gap:
    """The client may have missed publications on `channel`. With a history, deliveries continue after `position`."""

    channel: str
    position: Position | None = None


@dataclass(slots=True, frozen=True)
class CacheMiss:
    """The channel, which the client has just joined, remembers no event."""

    channel: str


@dataclass(slots=True, frozen=True)
class SubscriptionCount:
    """The number of subscribers of `channel` that are clients of its app, on all processes."""

    channel: str
    count: int


@dataclass(slots=True, frozen=True)
class HistoryPage:
    """Publications of the past of `channel`. `position` is that of the newest publication of the channel."""

    channel: str
    publications: Sequence[Publication]
    position: Position


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
    standing: Standing | None = None


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
    | CacheMiss
    | SubscriptionCount
    | HistoryPage
    | PresencePage
    | PresenceUpdate
    | MemberAdded
    | MemberRemoved
    | Lag
    | Refreshed
    | Left
    | FilterChanged
    | Metrics
)
