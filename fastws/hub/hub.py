"""The hub: who hears what, and the one door through which every publication reaches its subscribers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastws.counters import Counters
from fastws.hub.channel import Audience, Channel
from fastws.hub.ports import Member, Receipt, WireForm
from fastws.hub.rules import Rules
from fastws.hub.tick import Schedule, ScheduleLater, Tick
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Gap


def _nothing(_: str = "") -> None:
    """Nobody asked to be told."""


def _raise(error: Exception) -> None:
    raise error


class Hub:
    """Channels and their members.

    Within one channel everybody hears the same publications in the same order. Who subscribes hears nothing that was
    said before, who unsubscribes nothing that is said after. `emptied` is called with the name of a channel whose
    last member left, `failed` with an error of ours in writing one channel. Not thread-safe: everything happens on one
    event loop.
    """

    __slots__ = ("_rules", "channels", "emptied", "subscriptions", "tick")

    def __init__(
        self,
        *,
        counters: Counters,
        schedule: Schedule,
        schedule_later: ScheduleLater,
        rules: Rules | None = None,
        after_flush: Callable[[], None] = _nothing,
        emptied: Callable[[str], None] = _nothing,
        failed: Callable[[Exception], None] = _raise,
    ) -> None:
        self.channels: dict[str, Channel] = {}
        self.subscriptions = 0
        self.emptied = emptied
        self.tick = Tick(counters, schedule, schedule_later, after_flush, failed)
        self._rules = rules or Rules()

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """THE ONE DOOR: `publication` goes to every member of its channel at the end of this iteration.

        `receipt` is told after the flush how many it was handed to and how many refused it. Cost: 0.2 µs.
        """
        channel = self.channels.get(publication.channel)
        if channel is None:
            if receipt is not None:
                receipt.done(0, 0)
            return
        run = channel.run
        if not run:
            self.tick.add(channel)
        if receipt is not None:
            if channel.receipts is None:
                channel.receipts = []
            channel.receipts.append((receipt, len(run)))
        run.append(publication)

    def subscribe(self, member: Member, name: str, form: WireForm, filter_: Filter | None = None) -> None:
        """`member` hears `name` from now on; a filter given again replaces the one before. Idempotent.

        The caller has called `settle(name)` and seen that the member is still there: what settling writes may be too
        much for it, and who has been cut off must not come back.
        """
        current = self.audience_of(member, name)
        if current is not None:
            if current.filter == filter_ and current.form is form:
                return
            self._flush_channel(current.channel)
            if current not in member.audiences:
                return
            self._leave(member, current)
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = Channel(name, self._rules.policy(name), self._rules.flush_seconds(name))
        else:
            self._flush_channel(channel)
        key = (form, filter_)
        audience = channel.audiences.get(key)
        if audience is None:
            audience = channel.audiences[key] = Audience(channel, form, filter_)
        audience.members[member] = None
        member.audiences = (*member.audiences, audience)
        self.subscriptions += 1

    def unsubscribe(self, member: Member, name: str) -> bool:
        """`member` hears `name` no more. Returns whether it did before."""
        audience = self.audience_of(member, name)
        if audience is None:
            return False
        self._flush_channel(audience.channel)
        if audience not in member.audiences:
            return False  # cut off by what settling wrote
        self._leave(member, audience)
        if name not in self.channels:
            self.emptied(name)
        return True

    def leave(self, member: Member) -> None:
        """`member` is gone: it leaves every channel. What waits for the others is not written earlier for that."""
        for audience in member.audiences:
            self._leave(member, audience)
            name = audience.channel.name
            if name not in self.channels:
                self.emptied(name)

    def gap(self, name: str) -> None:
        """Tell every member of `name` that publications may have been missed, before anything newer."""
        self.flush_channel(name)
        for member in self.members(name):
            member.notify(Gap(name))

    def audience_of(self, member: Member, name: str) -> Audience | None:
        """The audience in which `member` hears `name`; None if it does not."""
        for audience in member.audiences:
            if audience.channel.name == name:
                return audience
        return None

    def members(self, name: str) -> Iterator[Member]:
        """Everybody who hears `name` in this process."""
        channel = self.channels.get(name)
        if channel is not None:
            for audience in list(channel.audiences.values()):
                yield from list(audience.members)

    def count(self, name: str) -> int:
        """How many hear `name` in this process."""
        channel = self.channels.get(name)
        return 0 if channel is None else channel.subscribers

    def flush(self) -> None:
        """Write what is due now: before a reply that must not overtake it."""
        if not self.tick.is_empty:
            self.tick.flush()

    def is_flushed(self, name: str) -> bool:
        """Whether nothing waits to be written, neither now nor, on channel `name`, at the end of its interval."""
        channel = self.channels.get(name)
        return self.tick.is_empty and (channel is None or not channel.run)

    def flush_channel(self, name: str) -> None:
        """Write what is due, and what the channel `name` holds back. A member may turn out to be too slow for it."""
        channel = self.channels.get(name)
        if channel is None:
            self.flush()
        else:
            self._flush_channel(channel)

    def _flush_channel(self, channel: Channel) -> None:
        """Before an audience of `channel` changes, what was said to it as it stands is written."""
        if channel.run or not self.tick.is_empty:
            self.tick.flush_channel(channel)

    def _leave(self, member: Member, audience: Audience) -> None:
        audience.members.pop(member, None)
        member.audiences = tuple(other for other in member.audiences if other is not audience)
        self.subscriptions -= 1
        channel = audience.channel
        if audience.members:
            return
        del channel.audiences[(audience.form, audience.filter)]
        if not channel.audiences:
            self._close(channel)

    def _close(self, channel: Channel) -> None:
        """Nobody is left: its receipts are told so by the flush that still has it in its list."""
        self.channels.pop(channel.name, None)
