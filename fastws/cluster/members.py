"""The members of channels whose members are users, each on any number of connections and processes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from fastws.cluster.channel_presence import ChannelPresence, Entry, PresenceRule
from fastws.cluster.presence import OtherNodes
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError, TooManyMembers
from fastws.hub.ports import Presence, Reports
from fastws.vocabulary.connection_ids import entry_id
from fastws.vocabulary.presence import (
    ChannelMember,
    MemberAdded,
    MemberRemoved,
    Membership,
    PresenceMember,
    PresencePage,
)

# A channel stays open that long for a client that has asked for it and is about to enter.
HOLD_SECONDS: Final = 10.0
# Time that the members of other processes may take to be read.
OPEN_SECONDS: Final = 2.0
_RULE: Final = PresenceRule("members", 0.0)
_UNAVAILABLE: Final = "Redis is unavailable: the members of this channel are not known; try again later"

Opened = Callable[[FastWSError | None], None]
Notice = MemberAdded | MemberRemoved


class ProcessMembers:
    """The members of all channels with a connection of this process: hub/ports.Members.

    Every subscriber gets one MemberAdded when the first connection of a user enters, and one MemberRemoved when the
    last one has left, in this order: both are differences from what the subscribers here know. `others` is None
    without other processes. `is_up` says whether their members can be known at the moment. Cost: 15 µs per join, and
    one write for each other member.
    """

    kind = "members"

    def __init__(
        self,
        node_id: str,
        notify: Callable[[str, Notice], Iterator[int]],
        schedule: Callable[[Callable[[], None]], object],
        schedule_later: Callable[[float, Callable[[], None]], object],
        is_up: Callable[[], bool],
    ) -> None:
        self.channels: dict[str, ChannelPresence] = {}
        self.others: OtherNodes | None = None
        # Gets the connections of this process that enter and leave; None without webhooks.
        self.reports: Reports | None = None
        self._node_id = node_id
        self._notify = notify
        self._schedule = schedule
        self._schedule_later = schedule_later
        self._is_up = is_up
        # What the subscribers here know, by channel and user.
        self._told: dict[str, dict[str, ChannelMember]] = {}
        self._waiting: dict[str, list[Opened]] = {}
        self._held: set[str] = set()
        self._notices: deque[Notice] = deque()

    def open(self, name: str, answer: Opened) -> None:
        """Call `answer` when the members of `name` are known; with BrokerUnavailable if that takes too long."""
        if not self._is_up():
            answer(BrokerUnavailable(_UNAVAILABLE, channel=name))
            return
        channel = self.channels.get(name) or self._open(name)
        if channel.is_complete:
            answer(None)
            return
        waiting = self._waiting.setdefault(name, [])
        waiting.append(answer)
        if len(waiting) == 1:
            self._schedule_later(OPEN_SECONDS, lambda: self._give_up(name, waiting))

    def enter(self, connection_id: str, name: str, membership: Membership) -> None:
        """Tell the subscribers that a user comes, unless it is there already."""
        channel, member = self.channels.get(name), membership.member
        if channel is None or not channel.is_complete or not self._is_up():
            raise BrokerUnavailable(_UNAVAILABLE, channel=name)
        entry, told = entry_id(self._node_id, connection_id), self._told[name]
        if entry in channel.here:
            return
        if 0 < membership.max_members <= len(told) and member.user not in told:
            raise TooManyMembers(f"this channel is full: it has {len(told)} members", channel=name)
        field = channel.enter(entry, PresenceMember(entry, member.user, None, _encoded(member)))
        if self.others is not None:
            self.others.changed(channel, field)
        self._compare(channel)
        if self.reports is not None:
            self.reports.member_entered(connection_id, name, member.user)
        # Before the client becomes a subscriber: what it gets instead is the list.
        self._write()

    def left(self, connection_id: str, name: str) -> None:
        """A connection of this process is no longer a subscriber of `name`."""
        if self.reports is not None:
            self.reports.member_left(connection_id, name)
        channel = self.channels.get(name)
        field = None if channel is None else channel.leave(entry_id(self._node_id, connection_id))
        if channel is None or field is None:
            return
        if self.others is not None:
            self.others.changed(channel, field)
        self._compare(channel)
        self._close_if_empty(name)

    def of(self, name: str) -> list[ChannelMember]:
        """Return the users in `name`, if a connection of this process is in it."""
        return list(self._told.get(name, {}).values())

    def read(self, name: str, answer: Callable[[list[ChannelMember] | FastWSError], None]) -> None:
        """Call `answer` with the users in `name` on all processes, or with BrokerUnavailable, now or later."""
        channel = self.channels.get(name)
        if self.others is None or (channel is not None and channel.is_complete):
            answer(self.of(name))
            return

        def found(presence: ChannelPresence | FastWSError) -> None:
            answer(presence if isinstance(presence, FastWSError) else list(_members(presence).values()))

        self.others.read(name, _RULE, found)

    def changed(self, channel: ChannelPresence) -> None:
        """The entries of other processes have changed, or have been read."""
        if not channel.is_complete:
            return
        self._compare(channel)
        for answer in self._waiting.pop(channel.name, ()):
            answer(None)

    def _open(self, name: str) -> ChannelPresence:
        channel = self.channels[name] = ChannelPresence(name, _RULE, is_complete=self.others is None)
        self._held.add(name)
        self._schedule_later(HOLD_SECONDS, lambda: self._release(name))
        if self.others is None:
            self._told[name] = {}
        else:
            self.others.opened(channel)
        return channel

    def _give_up(self, name: str, waiting: list[Opened]) -> None:
        if self._waiting.get(name) is waiting:
            del self._waiting[name]
            for answer in waiting:
                answer(BrokerUnavailable(_UNAVAILABLE, channel=name))

    def _release(self, name: str) -> None:
        self._held.discard(name)
        self._close_if_empty(name)

    def _close_if_empty(self, name: str) -> None:
        channel = self.channels.get(name)
        if channel is None or channel.here or name in self._held:
            return
        del self.channels[name]
        self._told.pop(name, None)
        if self.others is not None:
            self.others.closed(channel)

    def _compare(self, channel: ChannelPresence) -> None:
        """Note what the subscribers do not know yet."""
        told, name = self._told.get(channel.name), channel.name
        joined, left = channel.take_changes()
        if told is None:
            self._told[name] = _members(channel)
            return
        for gone in left:
            known = None if channel.has_user(gone.user) else told.pop(gone.user, None)
            if known is not None:
                self._note(MemberRemoved(name, known))
        for new in sorted(joined, key=_entered_at):
            if new.user not in told and channel.has_user(new.user):
                told[new.user] = member = _decoded(new)
                self._note(MemberAdded(name, member))

    def _note(self, notice: Notice) -> None:
        self._notices.append(notice)
        if len(self._notices) == 1:
            self._schedule(self._write)

    def _write(self) -> None:
        """Write all notices, in order."""
        while self._notices:
            notice = self._notices.popleft()
            for _ in self._notify(notice.channel, notice):
                pass


class HubPresence:
    """Passes the subscribers of the hub on to the members of channels that `has_members`, and to `presence`."""

    def __init__(self, members: ProcessMembers, has_members: Callable[[str], bool], presence: Presence | None) -> None:
        self._members = members
        self._has_members = has_members
        self._presence = presence

    @property
    def members(self) -> int:
        return 0 if self._presence is None else self._presence.members

    def joined(self, connection_id: str, channel: str) -> None:
        if self._presence is not None:
            self._presence.joined(connection_id, channel)

    def left(self, connection_id: str, channel: str) -> None:
        self._members.left(connection_id, channel)
        if self._presence is not None:
            self._presence.left(connection_id, channel)

    def shows(self, channel: str) -> bool:
        return self._has_members(channel) or (self._presence is not None and self._presence.shows(channel))

    def page(
        self, channel: str, limit: int, cursor: str | None, answer: Callable[[PresencePage | FastWSError], None]
    ) -> None:
        if self._presence is None:
            answer(BadRequest("this server keeps no presence: the setting `presence` is not set", channel=channel))
        else:
            self._presence.page(channel, limit, cursor, answer)


def _members(channel: ChannelPresence) -> dict[str, ChannelMember]:
    """Return the members by user, each as its first connection has introduced it."""
    entries: list[Entry] = sorted(channel.entries.values(), key=lambda entry: _entered_at(entry.member))
    members: dict[str, ChannelMember] = {}
    for entry in entries:
        if entry.member is not None:
            members.setdefault(entry.member.user, _decoded(entry.member))
    return members


def _encoded(member: ChannelMember) -> dict[str, object]:
    return {"id": member.shown_id, "info": member.info, "at": time.time()}


def _decoded(member: PresenceMember) -> ChannelMember:
    """Return the member in an entry. Any Redis client may write one, so another form is taken as well."""
    fields = member.info if isinstance(member.info, dict) else {}
    shown_id = fields.get("id")
    if not isinstance(shown_id, str | int) or str(shown_id) != member.user:
        shown_id = member.user
    return ChannelMember(member.user, shown_id, fields.get("info", {}))


def _entered_at(member: PresenceMember | None) -> float:
    at = member.info.get("at") if member is not None and isinstance(member.info, dict) else None
    return at if isinstance(at, float | int) else 0.0
