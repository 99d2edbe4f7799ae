"""History over Redis: publications are numbered and kept there, and each process keeps the tail of what it receives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from fastws.brokers.envelope import NewEpoch, decode_numbered, encode_rest
from fastws.brokers.history import NUMBERING_SECONDS, UNUSED_SECONDS, HistoryRule, HistoryRules, no_history
from fastws.brokers.redis.history_pages import HistoryPages
from fastws.brokers.redis.history_scripts import CLEAR, READ, HistoryKeys
from fastws.brokers.redis.numbered_publisher import RETRY_SECONDS, VOUCH_SECONDS, NumberedPublisher, Published
from fastws.brokers.redis.tail import Answer, Asked, Heard, HistoryLimits, Memory, Tail, decoded_entries
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.counters import Counters
from fastws.hub.ports import Deliverer, Receipt
from fastws.vocabulary.positions import Past, Position, Recovery
from fastws.vocabulary.publication import Publication

# How long newer publications are held back while a hole is filled.
HOLD_SECONDS: Final = 2.0
# Interval at which the life of a numbering with subscribers is extended.
REFRESH_SECONDS: Final = UNUSED_SECONDS / 3
# Entries of one read.
MAX_READ: Final = 1000

# Returns the receipt of a publication by the node that sent it and its number there, if it was sent here.
Echoed = Callable[[str, int], Receipt | None]


class RedisHistory:
    """The history of all processes of an installation.

    While a channel has subscribers here, this process keeps its tail: what it has received since it subscribed. A hole
    in the offsets is filled from Redis before anything newer is delivered; what cannot be filled becomes a gap notice.
    `is_confirmed` returns whether Redis has confirmed the subscription of a channel.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        commander: RedisCommander,
        keys: HistoryKeys,
        rules: HistoryRules,
        counters: Counters,
        is_confirmed: Callable[[str], bool],
        *,
        limits: HistoryLimits,
        clock: Callable[[], float],
    ) -> None:
        self.rule = rules
        self.publisher = NumberedPublisher(commander, keys, self.heard, self._run_known, clock)
        self._deliverer = deliverer
        self._commander = commander
        self._keys = keys
        pages = HistoryPages(commander, self.publisher, keys, rules)
        self.page, self.clear, self.channels, self.tops = pages.page, pages.clear, pages.channels, pages.tops
        self._counters = counters
        self._is_confirmed = is_confirmed
        self._limits = limits
        self._clock = clock
        self._memory = Memory()
        self._tails: dict[str, Tail] = {}
        # Those with publications, in the order of their last one.
        self._keeping: dict[str, Tail] = {}
        self._unsure: set[Tail] = set()
        # (time, channel), in this order.
        self._refreshes: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        """The number of channels whose tail this process keeps."""
        return len(self._tails)

    def keeps(self, channel: str) -> bool:
        return self.rule(channel) is not None

    def heard(self, channel: str) -> Position | None:
        tail = self._tails.get(channel)
        return None if tail is None else tail.position

    # --- publishing

    def publish(
        self, publication: Publication, rule: HistoryRule, node: str, number: int, published: Published
    ) -> None:
        """Number, keep and publish `publication`, whose channel has a history. Raises Unencodable."""
        self.publisher.publish(publication.channel, rule, encode_rest(publication, node, number), published)

    # --- hearing

    def receive(self, channel: str, payload: bytes, echoed: Echoed) -> None:
        """Deliver a numbered publication in its order. Raises BadRequest."""
        found = decode_numbered(payload, channel)
        tail = self._tails.get(channel)
        if isinstance(found, NewEpoch):
            if tail is not None and not tail.is_unsure:
                self._new_epoch(tail, found.position)
            return
        receipt = echoed(found.node, found.number)
        heard = Heard(found.publication, found.position, (found.node, found.number), receipt)
        if tail is None:
            self._deliver(heard)
        elif tail.is_unsure:
            tail.held.append(heard)
        else:
            self._hear(tail, heard)

    def _new_epoch(self, tail: Tail, position: Position) -> None:
        if tail.position is not None and tail.position.epoch != position.epoch:
            self._restart(tail, position)

    def _hear(self, tail: Tail, heard: Heard) -> None:
        position = tail.position
        offset = heard.position.offset
        if position is None or position.epoch != heard.position.epoch:
            before = Position(offset - 1, heard.position.epoch)
            if position is None:
                self._settle(tail, before)
            else:
                self._restart(tail, before)
            self._take(tail, heard)
        elif offset == position.offset + 1:
            self._take(tail, heard)
        elif offset > position.offset:
            self._doubt(tail)
            tail.held.append(heard)
            self._read(tail)
        elif offset == position.offset and tail.sent_by not in (None, heard.sent_by):
            self._replace_epoch(tail, heard.position.epoch)
        elif heard.receipt is not None:
            # Read from Redis already, while a hole was filled.
            heard.receipt.kept(heard.position)
            heard.receipt.done(self._deliverer.count(tail.channel), 0)

    def _take(self, tail: Tail, heard: Heard) -> None:
        """Deliver the next publication of the channel."""
        tail.append(heard, self._clock())
        self._keeping.pop(tail.channel, None)
        self._keeping[tail.channel] = tail
        if self._memory.bytes > self._limits.bytes:
            self._make_room()
        self._deliver(heard)

    def _deliver(self, heard: Heard) -> None:
        if heard.receipt is not None:
            heard.receipt.kept(heard.position)
        self._deliverer.deliver(heard.publication, heard.receipt)

    def _restart(self, tail: Tail, position: Position) -> None:
        """Continue after `position`, which does not follow the last one: subscribers get a gap notice."""
        if tail.position == position:
            return
        tail.begin(position)
        self._deliverer.gap(tail.channel, position)
        self._settle(tail, position)

    def _settle(self, tail: Tail, position: Position) -> None:
        """The position of the channel is known: tell those that joined without it."""
        if tail.position is None:
            tail.begin(position)
        late, tail.late = tail.late, []
        for tell in late:
            tell(position)

    def _make_room(self) -> None:
        """Drop the tails of the channels that were silent longest."""
        while self._memory.bytes > self._limits.bytes and self._keeping:
            self._keeping.pop(next(iter(self._keeping))).clear()

    # --- subscriptions and connections

    def confirmed(self, channel: str) -> None:
        """Redis has confirmed the subscription of `channel` again: read what was published meanwhile."""
        if (tail := self._tails.get(channel)) is not None:
            self._doubt(tail)
            tail.is_outdated = tail.is_reading
            self._read(tail)

    def lost(self) -> None:
        """The listener has lost its connection: publications may be missing on every channel."""
        for tail in self._tails.values():
            self._doubt(tail)

    def forget(self, channel: str) -> None:
        """`channel` has no subscriber here any more."""
        tail = self._tails.pop(channel, None)
        if tail is not None:
            tail.clear()
            self._keeping.pop(channel, None)
            self._unsure.discard(tail)
            self._answer_without_position(tail)

    def _run_known(self) -> None:
        """There is a new connection to Redis: vouch for what was received before, and read what is missing."""
        for tail in list(self._tails.values()):
            self._doubt(tail)
            if self._is_confirmed(tail.channel):
                self._read(tail)

    def _doubt(self, tail: Tail) -> None:
        if not tail.is_unsure:
            tail.is_unsure, tail.is_outdated = True, tail.is_reading
            tail.held_until = self._clock() + HOLD_SECONDS
            self._unsure.add(tail)

    def sweep(self, now: float) -> None:
        """Give up filling holes that take too long, and extend the lives of numberings with subscribers."""
        self.publisher.sweep(now)
        for tail in [tail for tail in self._unsure if tail.held_until <= now]:
            tail.held_until = now + HOLD_SECONDS
            first = tail.first_unheard()
            if first is not None:
                self._counters.holes["gap"] += 1
                self._restart(tail, Position(first.offset - 1, first.epoch))
                self._sure(tail)
            elif self._is_confirmed(tail.channel):
                self._read(tail)
        while self._refreshes and self._refreshes[0][0] <= now:
            self._refresh(self._refreshes.popleft()[1], now)

    def _refresh(self, channel: str, now: float) -> None:
        tail = self._tails.get(channel)
        if tail is not None:
            seconds = NUMBERING_SECONDS if tail.position is not None and tail.position.offset else UNUSED_SECONDS
            # One that fails is made up for by the next.
            self._commander.send(pack(b"EXPIRE", self._keys.of(channel)[0], int(seconds)), lambda _: None)
            self._refreshes.append((now + REFRESH_SECONDS, channel))

    # --- reading from Redis

    def recover(self, channel: str, past: Past, answer: Answer, late: Callable[[Position], None]) -> None:
        rule = self.rule(channel)
        if rule is None:
            answer(no_history(channel))
            return
        tail = self._tails.get(channel)
        if tail is None:
            tail = self._tails[channel] = Tail(channel, rule, self._memory)
            self._refreshes.append((self._clock() + REFRESH_SECONDS, channel))
        found = tail.find(past, self._limits.recover, self._clock())
        if found is not None:
            answer(found)
        elif self.publisher.run is None or not self._is_confirmed(channel):
            answer(Recovery(None, None if not isinstance(past, Position) else "unavailable"))
            tail.late.append(late)
            self._doubt(tail)
        else:
            tail.asked.append(Asked(past, answer, late))
            self._read(tail)

    def _read(self, tail: Tail, *, is_forced: bool = False) -> None:
        """Read what is missing after the position of `tail`, or all that it may have to replay."""
        if tail.is_reading:
            return
        if self.publisher.run is None:
            self._answer_without_position(tail)
            return
        heard = tail.position or Position(0, "")
        if tail.is_unsure and tail.position is not None:
            # With the last one heard, which must still be the same.
            after, count = max(heard.offset - 1, 0), MAX_READ
        elif any(asked.past is not None for asked in tail.asked):
            count = min(tail.rule.limit, self._limits.recover)
            after = -count
        else:
            after, count = 0, 0
        tail.is_reading, tail.is_outdated = True, False
        words = (
            *(heard.epoch, heard.offset, int(is_forced), after, count),
            *(self._keys.redis_channel(tail.channel), int(NUMBERING_SECONDS), int(UNUSED_SECONDS)),
        )
        self.publisher.evaluate(READ, tail.channel, words, partial(self._was_read, tail, is_whole=after < 0))

    def _was_read(self, tail: Tail, reply: object, *, is_whole: bool) -> None:
        tail.is_reading = False
        if self._tails.get(tail.channel) is not tail:
            self._answer_without_position(tail)
        elif tail.is_outdated:
            self._read(tail)
        elif reply == [0]:
            self._wait_for_vouching(tail)
        elif isinstance(reply, list):
            tail.vouch_until = 0.0
            top, epoch, left_ms, entries = reply
            now = self._clock()
            read = list(decoded_entries(tail.channel, entries))
            position = Position(top, epoch.decode())
            if tail.is_unsure or tail.position is None or tail.position.epoch != position.epoch:
                self._fill(tail, position, read)
            if not tail.is_unsure:
                self._complete(tail, position, read, now, left_ms, is_whole=is_whole)
        else:
            self._commander.log_refusal(b"EVALSHA", reply)
            self._answer_without_position(tail)

    def _wait_for_vouching(self, tail: Tail) -> None:
        """Another process may have heard the channel and vouch for its numbering."""
        now = self._clock()
        tail.vouch_until = tail.vouch_until or now + VOUCH_SECONDS
        is_over = now >= tail.vouch_until

        def again() -> None:
            if self._tails.get(tail.channel) is tail:
                self._read(tail, is_forced=is_over)

        asyncio.get_running_loop().call_later(RETRY_SECONDS, again)

    def _fill(self, tail: Tail, top: Position, read: list[Heard]) -> None:
        """Deliver what was missing, `read` from Redis, then what was held back."""
        position = tail.position
        if position is None:
            self._settle(tail, top)
        elif position.epoch != top.epoch:
            self._restart(tail, top)
        else:
            if read and read[0].position == position:
                if tail.sent_by not in (None, read[0].sent_by):
                    self._replace_epoch(tail, position.epoch)
                    return
                read = read[1:]
            self._fill_hole(tail, position, top, read)
            if len(read) + 1 >= MAX_READ and tail.position is not None and tail.position.offset < top.offset:
                self._read(tail)
                return
        self._sure(tail)

    def _fill_hole(self, tail: Tail, position: Position, top: Position, read: list[Heard]) -> None:
        if top.offset == position.offset:
            return
        if not read or read[0].position.offset != position.offset + 1:
            self._counters.holes["gap"] += 1
            self._restart(tail, Position(read[0].position.offset - 1, top.epoch) if read else top)
        else:
            self._counters.holes["filled"] += 1
        for heard in read:
            self._take(tail, heard)

    def _sure(self, tail: Tail) -> None:
        """Nothing is missing any more: deliver what was held back."""
        tail.is_unsure = False
        self._unsure.discard(tail)
        if tail.position is not None:
            self._settle(tail, tail.position)
        held, tail.held = tail.held, []
        for place, heard in enumerate(held):
            if tail.is_unsure:
                tail.held += held[place:]
                return
            self._hear(tail, heard)

    def _complete(
        self, tail: Tail, top: Position, read: list[Heard], now: float, left_ms: int, *, is_whole: bool
    ) -> None:
        """Bring the tail up to `top`, and answer the subscribers that wait."""
        position = tail.position
        if position is not None and position.epoch == top.epoch and position.offset < top.offset:
            newer = [heard for heard in read if heard.position.offset > position.offset]
            if not newer or newer[0].position.offset != position.offset + 1:
                self._doubt(tail)
                self._read(tail)
                return
            for heard in newer:
                self._take(tail, heard)
        if is_whole and tail.position is not None and tail.position.epoch == top.epoch:
            tail.fill([heard.publication for heard in read])
            if left_ms > 0:
                tail.last_at = now - tail.rule.seconds + left_ms / 1000
        asked, tail.asked = tail.asked, []
        for each in asked:
            found = tail.find(each.past, self._limits.recover, now, is_fresh=tail.is_complete)
            if found is not None:
                each.answer(found)
            else:
                tail.asked.append(each)
        if tail.asked:
            self._read(tail)

    def _replace_epoch(self, tail: Tail, epoch: str) -> None:
        """Redis has another publication at this position: begin a new epoch, unless another process has."""
        self._doubt(tail)
        words = (epoch, self._keys.redis_channel(tail.channel), int(UNUSED_SECONDS))
        self.publisher.evaluate(CLEAR, tail.channel, words, lambda _: self._read(tail))

    def _answer_without_position(self, tail: Tail) -> None:
        """Redis cannot be read: subscribers join without a position, and get it with a gap notice later."""
        asked, tail.asked = tail.asked, []
        for each in asked:
            tail.late.append(each.late)
            each.answer(Recovery(None, "unavailable" if isinstance(each.past, Position) else None))
        if asked and self._tails.get(tail.channel) is tail:
            self._doubt(tail)

    @property
    def bytes(self) -> int:
        """The memory that the tails take."""
        return self._memory.bytes
