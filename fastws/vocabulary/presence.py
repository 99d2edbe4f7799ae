"""Presence: the members of a channel, its figures, and what changes in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# What a channel shows: its members, or only its figures.
PresenceMode = Literal["members", "count"]


@dataclass(slots=True, frozen=True)
class PresenceMember:
    """One connection of a user. `info` is the claim `info` of its token, any JSON value; None if there is none."""

    connection_id: str
    user: str
    client_id: str | None = None
    info: object = None


@dataclass(slots=True, frozen=True)
class ChannelMember:
    """One user in a channel, on any number of connections. `shown_id` is `user` as the user's first client wrote it."""

    user: str
    shown_id: str | int
    info: object


@dataclass(slots=True, frozen=True)
class Membership:
    """As whom a client joins a channel that may have `max_members` users (0: any number)."""

    member: ChannelMember
    max_members: int = 0


@dataclass(slots=True, frozen=True)
class MemberAdded:
    """The first connection of a user has entered `channel`."""

    channel: str
    member: ChannelMember


@dataclass(slots=True, frozen=True)
class MemberRemoved:
    """The last connection of a user has left `channel`."""

    channel: str
    member: ChannelMember


@dataclass(slots=True, frozen=True)
class PresencePage:
    """The number of connections in `channel` and of their distinct users, and a page of `members`, by connection id.

    Connections without a token are in `count` only. `members` is None if only the figures are wanted or shown. `cursor`
    continues after this page; None on the last one.
    """

    channel: str
    count: int
    users: int
    members: Sequence[PresenceMember] | None = None
    cursor: str | None = None


@dataclass(slots=True, frozen=True)
class PresenceUpdate:
    """The members that have joined and left since the last update of `channel`, and its figures now.

    `joined` and `left` are None if the channel shows only figures, or if they are too many; then it `is_partial`.
    """

    channel: str
    count: int
    users: int
    joined: Sequence[PresenceMember] | None = None
    left: Sequence[PresenceMember] | None = None
    is_partial: bool = False
