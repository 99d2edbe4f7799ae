"""Presence of this process: the members of its channels, answers to questions, and updates for subscribers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import structlog

from fastws.cluster.channel_presence import ChannelPresence, PresenceRule
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.counters import Counters
from fastws.errors import BadRequest, FastWSError, Unencodable
from fastws.hub.roster import Roster
from fastws.throttled_log import ThrottledLog
from fastws.vocabulary.connection_ids import entry_id
from fastws.vocabulary.presence import PresenceMember, PresencePage, PresenceUpdate

MAX_INFO_BYTES: Final = 1024
# Subscribers that get an update in one loop iteration: about 5 ms of writes.
WRITES_PER_TURN: Final = 512

Answer = Callable[[PresencePage | FastWSError], None]
# Returns the member for a connection id; None for a connection without a token.
MemberOf = Callable[[str], PresenceMember | None]
# Writes an update to the subscribers of a channel in steps: yields the number of writes of each.
Notify = Callable[[str, PresenceUpdate], Iterator[int]]

_INFO_TOO_LARGE: Final = f"the claim `info` of a token must be at most {MAX_INFO_BYTES} bytes of JSON"

_log = structlog.stdlib.get_logger("fastws.presence")


class OtherNodes(Protocol):
    """The presence of the other nodes: cluster/redis/presence.py."""

    def opened(self, channel: ChannelPresence) -> None:
        """The first connection of this process is about to enter `channel`."""
        ...

    def changed(self, channel: ChannelPresence, field: str) -> None:
        """The entry `field` of this process has changed."""
        ...

    def closed(self, channel: ChannelPresence) -> None:
        """The last connection of this process has left `channel`."""
        ...

    def read(self, name: str, rule: PresenceRule, answer: Callable[[ChannelPresence | FastWSError], None]) -> None:
        """Call `answer` with the presence of a channel whose members are not all known here."""
        ...


class LocalPresence(Protocol):
    """The presence of this process: cluster/presence.py or cluster/members.py."""

    # The end of all keys in Redis.
    kind: str
    channels: dict[str, ChannelPresence]
    others: OtherNodes | None

    def changed(self, channel: ChannelPresence) -> None:
        """The entries of other processes have changed, or have been read."""
        ...


class ProcessPresence:
    """The presence of all channels with a connection of this process.

    `others` is None if there are no other processes. `schedule` calls back in the next loop iteration,
    `schedule_later` after a number of seconds. Cost: 5 µs per join.
    """

    kind = "presence"

    def __init__(
        self,
        rule_of: Callable[[str], PresenceRule | None],
        member_of: MemberOf,
        notify: Notify,
        schedule: Callable[[Callable[[], None]], object],
        schedule_later: Callable[[float, Callable[[], None]], object],
        counters: Counters,
        node_id: str = "",
    ) -> None:
        self._node_id = node_id
        self.channels: dict[str, ChannelPresence] = {}
        # Number of connections of this process in channels with presence: one in two channels counts twice.
        self.members = 0
        self.others: OtherNodes | None = None
        self._rule_of = rule_of
        self._member_of = member_of
        self._notify = notify
        self._schedule = schedule
        self._schedule_later = schedule_later
        self._counters = counters
        # Channels with an update due, by interval.
        self._pending: dict[float, list[ChannelPresence]] = {}
        self._writing: deque[Iterator[int]] = deque()
        self._is_writing_scheduled = False

    # --- members of this process

    def joined(self, connection_id: str, name: str) -> None:
        """A connection of this process has become a subscriber of `name`."""
        rule = self._rule_of(name)
        if rule is None:
            return
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = ChannelPresence(name, rule, is_complete=self.others is None)
            if self.others is not None:
                self.others.opened(channel)
        self.members += 1
        field = channel.enter(entry_id(self._node_id, connection_id), self._member_of(connection_id))
        if self.others is not None:
            self.others.changed(channel, field)
        self.changed(channel)

    def left(self, connection_id: str, name: str) -> None:
        """A connection of this process is no longer a subscriber of `name`."""
        channel = self.channels.get(name)
        field = None if channel is None else channel.leave(entry_id(self._node_id, connection_id))
        if channel is None or field is None:
            return
        self.members -= 1
        if self.others is not None:
            self.others.changed(channel, field)
        if channel.here:
            self.changed(channel)
            return
        del self.channels[name]
        if self.others is not None:
            self.others.closed(channel)

    # --- questions

    def shows(self, name: str) -> bool:
        """Whether `name` has presence."""
        return self._rule_of(name) is not None

    def page(self, name: str, limit: int, cursor: str | None, answer: Answer) -> None:
        """Call `answer` with the figures of `name` and up to `limit` members after `cursor`, now or later.

        The answer is BadRequest if the channel has no presence, BrokerUnavailable if Redis does not answer.
        """
        rule = self._rule_of(name)
        if rule is None:
            answer(BadRequest("this channel has no presence: the setting `presence` does not cover it", channel=name))
            return
        channel = self.channels.get(name)
        if channel is None and self.others is None:
            channel = ChannelPresence(name, rule, is_complete=True)
        if channel is not None and channel.is_complete:
            answer(channel.page(limit, cursor))
        elif self.others is not None:
            self.others.read(
                name,
                rule,
                lambda found: answer(found if isinstance(found, FastWSError) else found.page(limit, cursor)),
            )

    # --- updates

    def changed(self, channel: ChannelPresence) -> None:
        """Something has changed in `channel`: its subscribers get an update when their next one is due."""
        seconds = channel.rule.update_seconds
        if seconds is None or channel.is_pending:
            return
        channel.is_pending = True
        pending = self._pending.setdefault(seconds, [])
        pending.append(channel)
        if len(pending) == 1:
            if seconds:
                self._schedule_later(seconds, lambda: self._interval_over(seconds))
            else:
                self._schedule(lambda: self._interval_over(0.0))

    def _interval_over(self, seconds: float) -> None:
        channels, self._pending[seconds] = self._pending[seconds], []
        for channel in channels:
            channel.is_pending = False
            # Without the entries of other nodes, the figures would be wrong: `changed` is called when they are known.
            update = channel.take_update() if channel.here and channel.is_complete else None
            if update is not None:
                self._counters.presence_updates += 1
                self._writing.append(self._notify(channel.name, update))
        if self._writing and not self._is_writing_scheduled:
            self._write()

    def _write(self) -> None:
        """Write updates, in order, to as many subscribers as one loop iteration may write to."""
        self._is_writing_scheduled = False
        budget = WRITES_PER_TURN
        while self._writing:
            for written in self._writing[0]:
                budget -= written
                if budget <= 0:
                    self._is_writing_scheduled = True
                    self._schedule(self._write)
                    return
            self._writing.popleft()


class PresenceMembers:
    """Makes the members of the connections in `roster`."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._rejections = ThrottledLog(_log)

    def __call__(self, connection_id: str) -> PresenceMember | None:
        """Return the member for `connection_id`; None for a connection without a token.

        Its `info` is the claim of that name. It is ignored if it is too large or cannot be encoded.
        """
        client = self._roster.get(connection_id)
        identity = None if client is None else client.identity
        if client is None or identity is None:
            return None
        info = identity.claims.get("info")
        if info is not None and not _is_showable(info):
            self._rejections.warning("presence info ignored", reason=_INFO_TOO_LARGE)
            info = None
        return PresenceMember(connection_id, identity.user, client.client_id, info)


def _is_showable(info: object) -> bool:
    try:
        MSGPACK.dumps(info)
        return len(JSON.dumps(info)) <= MAX_INFO_BYTES
    except Unencodable:
        return False
