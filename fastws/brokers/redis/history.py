"""History over Redis: publications are numbered and kept there, and each process keeps the tail of what it receives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fastws.brokers.envelope import NewEpoch, decode_numbered
from fastws.brokers.history import HistoryRules, no_history
from fastws.brokers.redis.history_pages import HistoryPages
from fastws.brokers.redis.history_scripts import HistoryKeys
from fastws.brokers.redis.numbered_publisher import LIFE_SECONDS, NumberedPublisher
from fastws.brokers.redis.plain_messages import PlainMessages
from fastws.brokers.redis.plain_queue import PLAIN
from fastws.brokers.redis.tail import Answer, Asked, Heard, HistoryLimits, Tail
from fastws.brokers.redis.tail_delivery import TailDelivery
from fastws.brokers.redis.tail_reader import (
    REFRESH_SECONDS,
    UNUSED_LIFE_SECONDS,
    Echoed,
    TailReader,
    answer_without_past,
)
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.counters import Counters
from fastws.hub.ports import Deliverer
from fastws.vocabulary.positions import Past, Position


class RedisHistory:
    """The history of all processes of an installation.

    While a channel has subscribers here, this process keeps its tail: what it has received since it subscribed. A hole
    in the offsets is filled from Redis before anything newer is delivered; what cannot be filled becomes a gap notice.
    `is_confirmed` returns whether Redis has confirmed the subscription of a channel, `is_feed` whether it is a feed.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        commander: RedisCommander,
        keys: HistoryKeys,
        rules: HistoryRules,
        counters: Counters,
        is_confirmed: Callable[[str], bool],
        echoed: Echoed,
        *,
        is_feed: Callable[[str], bool],
        node: str,
        limits: HistoryLimits,
        delivery: TailDelivery | None = None,
        clock: Callable[[], float],
    ) -> None:
        self.rule = rules
        self.publisher = NumberedPublisher(commander, keys, self.heard, self._run_known, clock)
        self._commander, self._keys = commander, keys
        pages = HistoryPages(commander, self.publisher, keys, rules)
        self.page, self.clear, self.channels, self.tops = pages.page, pages.clear, pages.channels, pages.tops
        self._is_confirmed, self._echoed, self._limits, self._clock = is_confirmed, echoed, limits, clock
        self._delivery = delivery or TailDelivery(deliverer, counters, limits.bytes, clock)
        self.plain = PlainMessages(
            *(commander, self.publisher, keys, rules, node, self.heard, is_confirmed, is_feed, self._joined, clock)
        )
        self._reader = self._make_reader(counters)
        self._tails: dict[str, Tail] = {}
        # (time, tail), in this order.
        self._refreshes: deque[tuple[float, Tail]] = deque()

    def _make_reader(self, counters: Counters) -> TailReader:
        return TailReader(
            *(self.publisher, self._keys, self._delivery, counters, self._echoed, self.plain, self._is_current),
            recover_limit=self._limits.recover,
            clock=self._clock,
        )

    def __len__(self) -> int:
        """The number of channels whose tail this process keeps."""
        return len(self._tails)

    def keeps(self, channel: str) -> bool:
        return self.rule(channel) is not None

    def heard(self, channel: str) -> Position | None:
        tail = self._tails.get(channel)
        return None if tail is None else tail.position

    def _is_current(self, tail: Tail) -> bool:
        return self._tails.get(tail.channel) is tail

    # --- hearing

    def receive(self, channel: str, payload: bytes) -> None:
        """Deliver a numbered publication in its order. Raises BadRequest."""
        found = decode_numbered(payload, channel)
        tail = self._tails.get(channel)
        if isinstance(found, NewEpoch):
            if tail is not None:
                self._reader.announced(tail, found.position.epoch)
            return
        if found.node.startswith(PLAIN):
            self.plain.number(channel, found.node, found.number)
        sent_by = (found.node, found.number)
        heard = Heard(found.publication, found.position, sent_by, self._echoed(*sent_by))
        if tail is None:
            self._delivery.deliver(heard)
        else:
            self._reader.receive(tail, heard)

    # --- subscriptions and connections

    def confirmed(self, channel: str) -> None:
        """Redis has confirmed the subscription of `channel` again: read what was published meanwhile."""
        tail = self._tails.get(channel)
        if tail is not None:
            self._reader.doubt(tail)
            self._reader.read(tail)

    def lost(self) -> None:
        """The listener has lost its connection: publications may be missing on every channel."""
        for tail in self._tails.values():
            self._reader.doubt(tail)
        self.plain.lost()

    def ended(self, channel: str) -> None:
        """The subscription of `channel` has ended: publications may be missing until it is made again."""
        tail = self._tails.get(channel)
        if tail is not None:
            self._reader.doubt(tail)
        self.plain.ended(channel)

    def take_over(self, channel: str, other: RedisHistory) -> None:
        """`channel` has moved here from the node of `other`. It is read once the subscription is confirmed."""
        other.plain.forget(channel)
        tail = other._tails.pop(channel, None)
        if tail is not None:
            moved = self._tails[channel] = self._reader.take_over(tail, other._reader)
            self._refreshes.append((self._clock() + REFRESH_SECONDS, moved))

    def forget(self, channel: str) -> None:
        """`channel` has no subscriber here any more."""
        self.plain.forget(channel)
        tail = self._tails.pop(channel, None)
        if tail is not None:
            self._reader.forget(tail)

    def stop(self) -> None:
        """Refuse the publications that wait, and deliver those that were held back."""
        self.publisher.stop()
        for channel in list(self._tails):
            self.forget(channel)

    def _run_known(self) -> None:
        """There is a new connection to Redis: vouch for what was received before, and read what is missing."""
        for tail in list(self._tails.values()):
            self._reader.doubt(tail)
            if self._is_confirmed(tail.channel):
                self._reader.read(tail)
        self.plain.run_known()

    def _joined(self, channel: str, is_joined: bool) -> None:  # noqa: FBT001 called by position
        tail = self._tails.get(channel)
        if tail is not None:
            self._reader.joined(tail, is_joined=is_joined)

    def sweep(self, now: float) -> None:
        """Give up filling holes that take too long, and extend the lives of numberings with subscribers."""
        self.publisher.sweep(now)
        self.plain.sweep(now)
        self._reader.sweep(now, self._is_confirmed)
        while self._refreshes and self._refreshes[0][0] <= now:
            self._refresh(self._refreshes.popleft()[1], now)

    def _refresh(self, tail: Tail, now: float) -> None:
        if not self._is_current(tail):
            return
        if tail.position is not None:
            seconds = LIFE_SECONDS if tail.position.offset else UNUSED_LIFE_SECONDS
            # One that fails is made up for by the next.
            self._commander.send(pack(b"EXPIRE", self._keys.of(tail.channel)[0], int(seconds)), lambda _: None)
        self._refreshes.append((now + REFRESH_SECONDS, tail))

    # --- subscribing

    def recover(self, channel: str, past: Past, answer: Answer, late: Callable[[Position], None]) -> None:
        rule = self.rule(channel)
        if rule is None:
            answer(no_history(channel))
            return
        tail = self._tails.get(channel)
        if tail is None:
            tail = self._tails[channel] = Tail(channel, rule, self._delivery.memory)
            self._refreshes.append((self._clock() + REFRESH_SECONDS, tail))
            self._reader.doubt(tail)
        found = tail.find(past, self._limits.recover, self._clock())
        if found is not None:
            answer(found)
            return
        asked = Asked(past, answer, late)
        if self._is_confirmed(channel):
            tail.asked.append(asked)
            self._reader.read(tail)
        else:
            answer_without_past(tail, asked)

    @property
    def bytes(self) -> int:
        """The memory that the tails take."""
        return self._delivery.memory.bytes
