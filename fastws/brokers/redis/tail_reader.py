"""Reads from Redis what a process has missed of a channel, and decides what may be delivered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from fastws.brokers.history import UNUSED_SECONDS
from fastws.brokers.redis.history_scripts import HistoryKeys
from fastws.brokers.redis.numbered_publisher import (
    LIFE_SECONDS,
    RETRY_SECONDS,
    VOUCH_SECONDS,
    NumberedPublisher,
    is_moving,
)
from fastws.brokers.redis.plain_messages import PlainMessages
from fastws.brokers.redis.tail import NOWHERE, Asked, Heard, Run, Tail, decoded_entries
from fastws.brokers.redis.tail_delivery import TailDelivery
from fastws.counters import Counters
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Position, Recovery

# How long newer publications are held back while a hole is filled.
HOLD_SECONDS: Final = 2.0
# How often the life of a numbering is extended while somebody subscribes. It lives longer by that, so that it does not
# end before UNUSED_SECONDS after the last one has left.
REFRESH_SECONDS: Final = UNUSED_SECONDS / 3
UNUSED_LIFE_SECONDS: Final = UNUSED_SECONDS + REFRESH_SECONDS
# Entries of one read.
MAX_READ: Final = 1000

# Returns the receipt of a publication by the node that sent it and its number there, if it was sent here.
Echoed = Callable[[str, int], Receipt | None]


class TailReader:
    """Keeps tails whole: what follows the last publication is delivered, anything else only once Redis has been read.

    `is_current` returns whether a tail is still that of its channel. `recover_limit` is the most that one subscriber
    gets. A tail is told everything in the order in which this process has heard it.
    """

    def __init__(
        self,
        publisher: NumberedPublisher,
        keys: HistoryKeys,
        delivery: TailDelivery,
        counters: Counters,
        echoed: Echoed,
        plain: PlainMessages,
        is_current: Callable[[Tail], bool],
        *,
        recover_limit: int,
        clock: Callable[[], float],
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._delivery = delivery
        self._counters = counters
        self._echoed = echoed
        self._plain = plain
        self._is_current = is_current
        self._recover_limit = recover_limit
        self._clock = clock
        # Those that wait for something until `held_until`.
        self._waiting: set[Tail] = set()

    def receive(self, tail: Tail, heard: Heard) -> None:
        """`heard` has come from Redis."""
        if tail.is_unsure:
            tail.held.append(heard)
        else:
            self._hear(tail, heard)

    def announced(self, tail: Tail, epoch: str) -> None:
        """A new epoch has begun, unless this is late and another has begun since: Redis knows."""
        tail.announced = epoch
        if not tail.is_unsure and not tail.is_of(epoch) and epoch not in tail.ended:
            self.doubt(tail)
            self.read(tail)

    def _hear(self, tail: Tail, heard: Heard) -> None:
        if tail.is_next(heard):
            self._delivery.take(tail, heard)
            if tail.awaited and heard.position.offset >= tail.awaited:
                self._caught_up(tail)
        elif heard.position.epoch in tail.ended:
            self._delivery.skip(heard)
        elif not tail.is_known(heard):
            self.doubt(tail)
            tail.held.append(heard)
            self.read(tail)
        elif heard.position == tail.position and tail.sent_by not in (None, heard.sent_by):
            tail.held.append(heard)
            self._replace_epoch(tail, heard.position.epoch)
        else:
            self._delivery.skip(heard)

    def doubt(self, tail: Tail) -> None:
        """Publications may be missing: hold back newer ones until Redis has been read, from now on."""
        tail.is_outdated = tail.is_reading
        tail.awaited = 0
        if not tail.is_unsure:
            tail.is_unsure = True
            self._wait(tail)

    def _wait(self, tail: Tail) -> None:
        tail.held_until = self._clock() + HOLD_SECONDS
        self._waiting.add(tail)

    def take_over(self, tail: Tail, other: TailReader) -> Tail:
        """The channel of `tail` has moved here from the node of `other`: publications may be missing.

        Returns the tail that replaces it: replies for `tail` may still come.
        """
        other._waiting.discard(tail)
        moved = tail.moved()
        self._delivery.replace(moved)
        self.doubt(moved)
        return moved

    def forget(self, tail: Tail) -> None:
        """The channel of `tail` has no subscriber here any more."""
        self._waiting.discard(tail)
        self._delivery.forget(tail)
        _give_up_asking(tail)

    def sweep(self, now: float, is_confirmed: Callable[[str], bool]) -> None:
        """Give up filling holes that take too long; read what is missing of channels that Redis has confirmed."""
        for tail in [tail for tail in self._waiting if tail.held_until <= now]:
            if not tail.is_unsure:
                self.doubt(tail)
            tail.held_until = now + HOLD_SECONDS
            if self._has_new(tail):
                self._give_up(tail)
            elif is_confirmed(tail.channel):
                self.read(tail)
            else:
                _give_up_asking(tail)

    def _has_new(self, tail: Tail) -> bool:
        """Whether publications are held back that are not known yet. Those that are known are skipped."""
        held, tail.held = tail.held, []
        for heard in held:
            if tail.is_known(heard) or heard.position.epoch in tail.ended:
                self._delivery.skip(heard)
            else:
                tail.held.append(heard)
        return bool(tail.held)

    def _give_up(self, tail: Tail) -> None:
        """Redis cannot be read: deliver what was held back, with a gap notice where something is missing."""
        held, tail.held = tail.held, []
        self._delivery.take_in_order(tail, held)
        # What Redis has answered by now may be older.
        tail.is_outdated = tail.is_reading
        self._sure(tail)

    def read(self, tail: Tail, *, is_forced: bool = False) -> None:
        """Read what is missing after the position of `tail`, or all that it may have to replay."""
        if tail.is_reading:
            return
        if self._publisher.run is None:
            _give_up_asking(tail)
            return
        heard = tail.position or NOWHERE
        is_whole = False
        if tail.is_unsure and tail.position is not None:
            # With the last one heard, which must still be the same.
            after, count = max(heard.offset - 1, 0), MAX_READ
        elif any(asked.past is not None for asked in tail.asked):
            is_whole = True
            count = min(tail.rule.limit, tail.rule.replayed(self._recover_limit))
            after = -count
        else:
            after, count = 0, 0
        tail.is_reading, tail.is_outdated, tail.announced, tail.awaited = True, False, None, 0
        tail.asked_before, tail.held_before = len(tail.asked), len(tail.held)
        words = (
            *(heard.epoch, heard.offset, int(is_forced), after, count),
            *(self._keys.redis_channel(tail.channel), LIFE_SECONDS, int(UNUSED_LIFE_SECONDS)),
            watch := self._plain.watch(tail.channel),
        )
        answered = partial(self._was_read, tail, count, watch, is_whole=is_whole)
        self._publisher.evaluate(self._keys.scripts.read, tail.channel, words, answered)

    def _was_read(self, tail: Tail, count: int, watch: str, reply: object, *, is_whole: bool) -> None:
        if reply == [0] and self._is_current(tail):
            self._wait_for_vouching(tail)
            return
        if is_moving(reply) and self._is_current(tail):
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._read_again, tail)
            return
        tail.is_reading = False
        if not self._is_current(tail):
            _give_up_asking(tail)
        elif reply == [1]:
            self._plain.join(tail.channel, watch)
        elif isinstance(reply, list):
            tail.vouch_until = 0.0
            self._take_answer(tail, count, reply, is_whole=is_whole)
        else:
            self._publisher.script_refused(reply)
            _give_up_asking(tail)

    def _take_answer(self, tail: Tail, count: int, reply: list[Any], *, is_whole: bool) -> None:
        """Bring the tail up to what Redis has answered, unless that is too old or Redis has lost its end."""
        offset, epoch, left_ms, entries, found, last = reply
        top, run = Position(offset, epoch.decode()), Run(self._publisher.run, found, last)
        if tail.is_too_old(top.epoch):
            self.read(tail)
            return
        read = list(decoded_entries(tail.channel, entries))
        if tail.is_lost(top, run, read):
            self._replace_epoch(tail, top.epoch)
            return
        tail.run = run
        is_partial = bool(count) and len(entries) >= count and not is_whole
        is_filled = tail.is_of(top.epoch) and not tail.is_unsure
        if is_filled or self._fill(tail, top, read, is_partial=is_partial):
            self._complete(tail, top, read, left_ms, is_whole=is_whole)

    def joined(self, tail: Tail, *, is_joined: bool) -> None:
        """This process receives all plain messages of the channel, or cannot know whether it does."""
        if is_joined:
            self.read(tail)
        else:
            _give_up_asking(tail)

    def _wait_for_vouching(self, tail: Tail) -> None:
        """Another process may have heard the channel and vouch for its numbering."""
        now = self._clock()
        tail.vouch_until = tail.vouch_until or now + VOUCH_SECONDS
        is_forced = now >= tail.vouch_until
        asyncio.get_running_loop().call_later(RETRY_SECONDS, partial(self._read_again, tail, is_forced=is_forced))

    def _read_again(self, tail: Tail, *, is_forced: bool = False) -> None:
        tail.is_reading = False
        if self._is_current(tail):
            self.read(tail, is_forced=is_forced)

    def _fill(self, tail: Tail, top: Position, read: list[Heard], *, is_partial: bool) -> bool:
        """Deliver what was missing up to `top`, then what was held back. Returns False if Redis is read again first."""
        position = tail.position
        if position is not None and position.epoch == top.epoch and read and read[0].position == position:
            if tail.sent_by not in (None, read[0].sent_by):
                self._replace_epoch(tail, position.epoch)
                return False
            tail.sent_by = read[0].sent_by
        current = [heard for heard in tail.held if heard.position.epoch == top.epoch]
        for heard in tail.held:
            if heard.position.epoch != top.epoch:
                self._delivery.skip(heard)
        tail.held = current
        if position is None:
            # Nobody has heard anything yet.
            first = current[0].position.offset - 1 if current else top.offset
            self._delivery.settle(tail, Position(min(first, top.offset), top.epoch))
        elif is_partial and read and read[-1].position.offset < top.offset:
            self._deliver_missing(tail, read[-1].position, read)
            self.read(tail)
            return False
        else:
            self._deliver_missing(tail, top, read)
        self._sure(tail)
        return not tail.is_unsure

    def _deliver_missing(self, tail: Tail, top: Position, read: list[Heard]) -> None:
        """Deliver what is missing up to `top`, from what was read and what was held back."""
        before = tail.position
        merged = {heard.position.offset: heard for heard in read if not tail.is_known(heard)}
        merged |= {heard.position.offset: heard for heard in tail.held if heard.position.offset <= top.offset}
        tail.held = [heard for heard in tail.held if heard.position.offset > top.offset]
        self._take_read(tail, [merged[offset] for offset in sorted(merged)])
        if not tail.is_of(top.epoch) or (tail.position or NOWHERE).offset < top.offset:
            self._delivery.restart(tail, top)
        elif merged and before is not None and before.epoch == top.epoch and before.offset + 1 in merged:
            self._counters.holes["filled"] += 1

    def _take_read(self, tail: Tail, publications: list[Heard]) -> None:
        """Deliver what was read, with the receipts of what was published here and has not come back yet."""
        self._delivery.take_in_order(
            tail,
            [
                heard if heard.receipt is not None else replace(heard, receipt=self._echoed(*heard.sent_by))
                for heard in publications
            ],
        )

    def _sure(self, tail: Tail) -> None:
        """Nothing is missing any more: deliver what was held back."""
        tail.is_unsure = False
        self._waiting.discard(tail)
        if tail.position is not None:
            self._delivery.settle(tail, tail.position)
        held, tail.held = tail.held, []
        for place, heard in enumerate(held):
            if tail.is_unsure:
                tail.held += held[place:]
                return
            self._hear(tail, heard)

    def _complete(self, tail: Tail, top: Position, read: list[Heard], left_ms: int, *, is_whole: bool) -> None:
        """Bring the tail up to `top`, and answer the subscribers that wait."""
        offset = (tail.position or NOWHERE).offset
        if offset < top.offset:
            newer = [heard for heard in read if heard.position.offset > offset]
            if len(newer) == top.offset - offset:
                self._take_read(tail, newer)
            elif is_whole:
                # Redis keeps no longer what is on its way to this process.
                tail.awaited = top.offset
                self._wait(tail)
                return
        if tail.position == top:
            tail.expire(left_ms, self._clock())
        if is_whole:
            tail.fill(read)
        self._answer(tail, is_fresh=is_whole)
        if self._is_current(tail):
            self._delivery.keep(tail)

    def _caught_up(self, tail: Tail) -> None:
        """The publications that were on their way when Redis was read have come."""
        tail.awaited = 0
        self._waiting.discard(tail)
        tail.is_complete = True
        self._answer(tail, is_fresh=True)

    def _answer(self, tail: Tail, *, is_fresh: bool) -> None:
        """Answer the subscribers that wait. `is_fresh`: Redis was read after the first of them had asked."""
        now = self._clock()
        for place in range(len(tail.asked)):
            asked = tail.asked.popleft()
            found = tail.find(asked.past, self._recover_limit, now, is_fresh=is_fresh and place < tail.asked_before)
            if found is not None:
                asked.answer(found)
            else:
                tail.asked.append(asked)
        if tail.asked:
            self.read(tail)

    def _replace_epoch(self, tail: Tail, epoch: str) -> None:
        """Redis has another publication at this position: begin a new epoch, unless another process has."""
        self.doubt(tail)

        def cleared(reply: object) -> None:
            if isinstance(reply, list):
                self.read(tail)
            else:
                self._publisher.script_refused(reply)

        if self._publisher.run is not None:
            words = (epoch, self._keys.redis_channel(tail.channel), int(UNUSED_SECONDS))
            self._publisher.evaluate(self._keys.scripts.clear, tail.channel, words, cleared)


def _give_up_asking(tail: Tail) -> None:
    """Redis cannot be read: answer the subscribers that wait."""
    while tail.asked:
        answer_without_past(tail, tail.asked.popleft())


def answer_without_past(tail: Tail, asked: Asked) -> None:
    """Answer that the past is unavailable. If even the position is not known, it follows with a gap notice."""
    position = None if tail.is_unsure else tail.position
    if position is None:
        tail.late.append(asked.late)
    asked.answer(Recovery(position, "unavailable" if isinstance(asked.past, Position) else None))
