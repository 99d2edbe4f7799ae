"""The hub: the channels of this process, their members, and the delivery of every publication to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ParamSpec

from fastws.counters import Counters
from fastws.errors import FastWSError
from fastws.hub.channel import Audience, Channel, rough_bytes
from fastws.hub.fan_out import write_notice
from fastws.hub.ports import Member, Presence, Receipt, WireForm
from fastws.hub.rules import Rules
from fastws.hub.tick import Schedule, ScheduleLater, Tick
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Failure, Gap, Reply

P = ParamSpec("P")


def _nothing(_: str = "") -> None:
    """Default callback: do nothing."""


def _raise(error: Exception) -> None:
    raise error


@dataclass(slots=True, frozen=True)
class LongestRun:
    """How much of one channel a flush interval may hold back before it is written early."""

    messages: int
    bytes: int


class Hub:
    """Channels and their members.

    All members of a channel get the same publications in the same order. A new member gets nothing that was published
    before it subscribed, and a member that unsubscribes gets nothing that is published afterwards.

    `emptied` is called with the name of a channel whose last member has left, `failed` with an unexpected exception
    while a channel is written. A run that a flush interval holds back is written early once it reaches `longest_run`.
    `count_changed`, if set, is called with the name of a channel whose number of members has changed.
    Not thread-safe: everything runs on one event loop.
    """

    __slots__ = (
        "_counters",
        "_failed",
        "_longest_run",
        "_rules",
        "channels",
        "count_changed",
        "emptied",
        "presence",
        "subscriptions",
        "tick",
    )

    def __init__(
        self,
        *,
        counters: Counters,
        schedule: Schedule,
        schedule_later: ScheduleLater,
        rules: Rules | None = None,
        longest_run: LongestRun | None = None,
        after_flush: Callable[[], None] = _nothing,
        emptied: Callable[[str], None] = _nothing,
        failed: Callable[[Exception], None] = _raise,
    ) -> None:
        self.channels: dict[str, Channel] = {}
        self.subscriptions = 0
        self.emptied = emptied
        self.count_changed: Callable[[str], object] | None = None
        # Set if any channel has presence.
        self.presence: Presence | None = None
        self._counters = counters
        self._failed = failed
        self.tick = Tick(counters, schedule, schedule_later, after_flush, failed)
        self._rules = rules or Rules()
        self._longest_run = longest_run or LongestRun(sys.maxsize, sys.maxsize)

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """Deliver `publication` to every member of its channel at the end of this loop iteration.

        Every publication of this process goes through here. After the flush, `receipt` gets the number of members
        that it was handed to and the number that refused it. Cost: 0.2 µs.
        """
        channel = self.channels.get(publication.channel)
        if channel is None:
            if receipt is not None:
                # Not by `_guarded`: its call would cost 0.15 µs per publication (benchmarks/test_stages.py).
                try:
                    receipt.done(0, 0)
                except Exception as error:  # noqa: BLE001 reported
                    self._failed(error)
            return
        run = channel.run
        if not run:
            self.tick.add(channel)
        if receipt is not None:
            if channel.receipts is None:
                channel.receipts = []
            channel.receipts.append((receipt, len(run)))
        run.append(publication)
        if channel.flush_seconds:
            channel.run_bytes += rough_bytes(publication.data)
            if len(run) >= self._longest_run.messages or channel.run_bytes >= self._longest_run.bytes:
                self.tick.hasten(channel)

    def subscribe(self, member: Member, name: str, form: WireForm, filter_: Filter | None = None) -> None:
        """Add `member` to channel `name`, or replace its filter if it is a member already. Idempotent.

        The caller must have called `flush_channel(name)` and checked that the member is still connected: the flush
        may have been too much for it, and a member that was cut off must not be added again.
        """
        current = self.audience_of(member, name)
        if current is not None:
            if current.filter == filter_ and current.form is form:
                return
            self.tick.flush_channel(current.channel)
            if current not in member.audiences:
                return
            self._leave(member, current)
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = self._open(name)
        else:
            self.tick.flush_channel(channel)
        key = (form, filter_)
        audience = channel.audiences.get(key)
        if audience is None:
            audience = channel.audiences[key] = Audience(channel, form, filter_)
        audience.members[member] = None
        member.audiences = (*member.audiences, audience)
        self.subscriptions += 1
        if self.count_changed is not None:
            self.count_changed(name)
        if channel.presence is not None and current is None:
            self._guarded(channel.presence.joined, member.id, name)

    def unsubscribe(self, member: Member, name: str) -> bool:
        """Remove `member` from channel `name`. Returns whether it was a member."""
        audience = self.audience_of(member, name)
        if audience is None:
            return False
        self.tick.flush_channel(audience.channel)
        if audience not in member.audiences:
            return False  # the flush was too much for it, and it was cut off
        self._leave(member, audience)
        self._left(member, audience.channel)
        return True

    def leave(self, member: Member) -> None:
        """Remove a disconnected `member` from every channel. Does not flush: other members are not affected."""
        for audience in member.audiences:
            self._leave(member, audience)
            self._left(member, audience.channel)

    def gap(self, name: str, position: Position | None = None) -> None:
        """Notify every member of `name`, before any newer publication, that it may have missed some.

        With a history, the next publication has the offset after `position`.
        """
        self.flush_channel(name)
        for member in self.members(name):
            self._guarded(member.notify, Gap(name, position))

    def notify(self, name: str, reply: Reply) -> Iterator[int]:
        """Write a notice to every member of `name`, framed once per wire form, as publications are written.

        Yields the writes since the last yield, so that the caller can continue in a later loop iteration.
        """
        self.flush_channel(name)
        channel = self.channels.get(name)
        if channel is not None:
            yield from write_notice(channel, reply, self._counters, self._failed)

    def _left(self, member: Member, channel: Channel) -> None:
        """`member` has left `channel` for good, perhaps as the last one."""
        if channel.presence is not None:
            self._guarded(channel.presence.left, member.id, channel.name)
        if channel.name not in self.channels:
            self._guarded(self.emptied, channel.name)

    def _guarded(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a callback; report what it raises, so that one failing callback does not affect the others."""
        try:
            call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 reported
            self._failed(error)

    def fail(self, name: str, error: FastWSError) -> None:
        """Notify every member of `name` that it gets no publications at the moment. The members stay subscribed."""
        self.flush_channel(name)
        for member in self.members(name):
            self._guarded(member.notify, Failure(error.code, error.message, name))

    def audience_of(self, member: Member, name: str) -> Audience | None:
        """Return the audience of `member` in channel `name`; None if it is not a member."""
        for audience in member.audiences:
            if audience.channel.name == name:
                return audience
        return None

    def members(self, name: str) -> Iterator[Member]:
        """Iterate over the members of `name` in this process."""
        channel = self.channels.get(name)
        if channel is not None:
            for audience in list(channel.audiences.values()):
                yield from list(audience.members)

    def count(self, name: str) -> int:
        """Number of members of `name` in this process."""
        channel = self.channels.get(name)
        return 0 if channel is None else channel.subscribers

    def flush(self) -> None:
        """Write everything that is due now."""
        if not self.tick.is_empty:
            self.tick.flush()

    def is_flushed(self, name: str) -> bool:
        """Whether channel `name` has no publication that waits for a flush or for the end of its flush interval."""
        channel = self.channels.get(name)
        return channel is None or self.tick.is_flushed(channel)

    def flush_channel(self, name: str) -> None:
        """Write the run of channel `name` now, before a reply that must not overtake it or before a member joins.

        A member may be cut off because it is too slow for the data. Other channels are not written early.
        """
        channel = self.channels.get(name)
        if channel is not None:
            self.tick.flush_channel(channel)

    def flush_channels_of(self, member: Member) -> None:
        """Write the runs of all channels of `member` now, before a direct message to it or before it is closed."""
        for audience in member.audiences:
            self.tick.flush_channel(audience.channel)

    def _leave(self, member: Member, audience: Audience) -> None:
        audience.members.pop(member, None)
        member.audiences = tuple(other for other in member.audiences if other is not audience)
        self.subscriptions -= 1
        channel = audience.channel
        if self.count_changed is not None:
            self.count_changed(channel.name)
        if audience.members:
            return
        del channel.audiences[(audience.form, audience.filter)]
        if not channel.audiences:
            self._close(channel)

    def _open(self, name: str) -> Channel:
        channel = Channel(name, self._rules.policy(name), self._rules.flush_seconds(name))
        if self.presence is not None and self.presence.shows(name):
            channel.presence = self.presence
        return channel

    def _close(self, channel: Channel) -> None:
        """Forget a channel without members. Its receipts get their result from the flush that still lists it."""
        self.channels.pop(channel.name, None)
