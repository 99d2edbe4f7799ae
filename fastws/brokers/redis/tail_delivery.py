"""Delivers the publications of channels with a history in their order, and tells subscribers where one is missing."""

from __future__ import annotations

from collections.abc import Callable

from fastws.brokers.redis.tail import Heard, Memory, Tail
from fastws.counters import Counters
from fastws.hub.ports import Deliverer
from fastws.vocabulary.positions import Position


class TailDelivery:
    """Hands publications to the hub and keeps them in the tails, all of which take at most `max_bytes`."""

    def __init__(self, deliverer: Deliverer, counters: Counters, max_bytes: int, clock: Callable[[], float]) -> None:
        self.memory = Memory()
        self._deliverer = deliverer
        self._counters = counters
        self._max_bytes = max_bytes
        self._clock = clock
        # Those with publications, in the order of their last one.
        self._keeping: dict[str, Tail] = {}

    def take(self, tail: Tail, heard: Heard) -> None:
        """Deliver the next publication of the channel."""
        tail.append(heard, self._clock())
        self.keep(tail)
        self.deliver(heard)

    def take_in_order(self, tail: Tail, publications: list[Heard]) -> None:
        """Deliver `publications`, in the order of their offsets, without those that were delivered before.

        Where some are missing, subscribers get a gap notice.
        """
        for heard in publications:
            if tail.is_known(heard):
                self.skip(heard)
                continue
            if not tail.is_next(heard):
                self.restart(tail, Position(heard.position.offset - 1, heard.position.epoch))
            elif tail.position is not None:
                self.settle(tail, tail.position)
            self.take(tail, heard)

    def deliver(self, heard: Heard) -> None:
        """Hand `heard` to the hub."""
        if heard.receipt is not None:
            heard.receipt.kept(heard.position)
        self._deliverer.deliver(heard.publication, heard.receipt)

    def skip(self, heard: Heard) -> None:
        """Deliver `heard` to nobody: it was delivered before, without its receipt, or its epoch has ended."""
        if heard.receipt is not None:
            heard.receipt.done(0, self._deliverer.count(heard.publication.channel))

    def restart(self, tail: Tail, position: Position) -> None:
        """Continue after `position`, which does not follow the last one: subscribers get a gap notice."""
        if tail.position is None:
            self.settle(tail, position)
        elif tail.position != position:
            if tail.is_of(position.epoch):
                self._counters.holes["gap"] += 1
            tail.begin(position)
            self._deliverer.gap(tail.channel, position)
            # They are subscribers, too.
            tail.late.clear()

    def settle(self, tail: Tail, position: Position) -> None:
        """The position of the channel is known: tell those that joined without it."""
        if tail.position is None:
            tail.begin(position)
        late, tail.late = tail.late, []
        for tell in late:
            tell(position)

    def keep(self, tail: Tail) -> None:
        """`tail` has become longer: drop those of the channels that were silent longest if all take too much."""
        self._keeping.pop(tail.channel, None)
        self._keeping[tail.channel] = tail
        while self.memory.bytes > self._max_bytes and self._keeping:
            self._keeping.pop(next(iter(self._keeping))).clear()

    def replace(self, tail: Tail) -> None:
        """`tail` has what another of its channel had."""
        if tail.channel in self._keeping:
            self._keeping[tail.channel] = tail

    def forget(self, tail: Tail) -> None:
        """The channel has no subscriber any more: what was held back concerns nobody here."""
        tail.clear()
        self._keeping.pop(tail.channel, None)
        held, tail.held = tail.held, []
        for heard in held:
            self.deliver(heard)
