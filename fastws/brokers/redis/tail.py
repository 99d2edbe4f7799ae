"""The tail of a channel with a history: what this process has heard of it, and who waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import structlog

from fastws.brokers.envelope import NewEpoch, decode_numbered
from fastws.brokers.history import HistoryRule, recovery, size_of
from fastws.errors import BadRequest, FastWSError
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Past, Position, Recovery
from fastws.vocabulary.publication import Publication

_log = structlog.get_logger("fastws.redis")

Answer = Callable[[Recovery | FastWSError], None]


class Heard(NamedTuple):
    """A publication as it came from Redis, with its position, the node that sent it and its number there."""

    publication: Publication
    position: Position
    sent_by: tuple[str, int]
    receipt: Receipt | None = None


class Asked(NamedTuple):
    """A subscriber that waits for its past. `late` gets the position if it is known only after the answer."""

    past: Past
    answer: Answer
    late: Callable[[Position], None]


class HistoryLimits(NamedTuple):
    """The most publications that one subscription recovers, and the bytes that all tails of a process may take."""

    recover: int
    bytes: int


class Memory:
    """The bytes that all tails of this process take."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Tail:
    """The newest publications of one channel. `position` is None until it is read from Redis."""

    __slots__ = (
        "asked",
        "channel",
        "held",
        "held_until",
        "is_complete",
        "is_outdated",
        "is_reading",
        "is_unsure",
        "kept",
        "last_at",
        "late",
        "memory",
        "position",
        "rule",
        "sent_by",
        "vouch_until",
    )

    def __init__(self, channel: str, rule: HistoryRule, memory: Memory) -> None:
        self.channel = channel
        self.rule = rule
        self.memory = memory
        self.position: Position | None = None
        self.kept: deque[Publication] = deque()
        # Whether `kept` has everything that Redis keeps, up to the most that is ever replayed.
        self.is_complete = False
        self.last_at = 0.0
        # The sender of the last publication and its number there: they prove that Redis still has the same one.
        self.sent_by: tuple[str, int] | None = None
        # Publications may be missing after `position`: newer ones are held back until Redis has been read.
        self.is_unsure = False
        self.is_reading = False
        # Whether the read under way may lack publications that were missed later.
        self.is_outdated = False
        self.held: list[Heard] = []
        self.held_until = float("inf")
        # Until when other processes may vouch for the numbering.
        self.vouch_until = 0.0
        self.asked: list[Asked] = []
        # Subscribers that joined without a position while Redis was unavailable.
        self.late: list[Callable[[Position], None]] = []

    def append(self, heard: Heard, now: float) -> None:
        """Keep the next publication of the channel."""
        self.position, self.sent_by, self.last_at = heard.position, heard.sent_by, now
        self.kept.append(heard.publication)
        self.memory.bytes += size_of(heard.publication)
        if len(self.kept) > self.rule.limit:
            self.memory.bytes -= size_of(self.kept.popleft())

    def first_unheard(self) -> Position | None:
        """Return the position of the first publication that is held back and was not delivered before."""
        for heard in self.held:
            position = heard.position
            if self.position is None or position.epoch != self.position.epoch or position > self.position:
                return position
        return None

    def begin(self, position: Position) -> None:
        """Continue after `position`, without what was kept before."""
        self.clear()
        self.position, self.sent_by = position, None
        self.is_complete = position.offset == 0

    def fill(self, older: list[Publication]) -> None:
        """Take everything that Redis keeps up to the first publication here."""
        first = self.kept[0].offset if self.kept else None
        for publication in reversed(older):
            if first is None or (publication.offset or 0) < first:
                self.kept.appendleft(publication)
                self.memory.bytes += size_of(publication)
        while len(self.kept) > self.rule.limit:
            self.memory.bytes -= size_of(self.kept.popleft())
        self.is_complete = self.position is not None and (not self.kept or self.kept[-1].offset == self.position.offset)
        if not self.is_complete:
            self.clear()

    def clear(self) -> None:
        """Drop the publications."""
        self.memory.bytes -= sum(map(size_of, self.kept))
        self.kept.clear()
        self.is_complete = False

    def find(self, past: Past, limit: int, now: float, *, is_fresh: bool = False) -> Recovery | None:
        """Return what a subscriber gets, or None if only Redis knows. `is_fresh`: Redis has just been read."""
        position = self.position
        if position is None or self.is_unsure:
            return None
        if self.kept and now - self.last_at >= self.rule.seconds:
            self.clear()
            self.is_complete = True
        found = recovery(position, self.kept, past, limit)
        if is_fresh or found.outcome == "recovered" or past is None:
            return found
        if isinstance(past, int):
            return found if self.is_complete or min(past, limit, self.rule.limit) <= len(self.kept) else None
        # Another process may have told this client of a publication or an epoch that has not come here yet.
        return found if found.outcome in ("too_old", "too_many") and self.is_complete else None


def decoded_entries(channel: str, entries: list[Any]) -> Iterator[Heard]:
    """Decode entries of the stream of `channel`, as Redis returns them. Skips those that cannot be read."""
    for _, (_, payload) in entries:
        try:
            found = decode_numbered(payload, channel)
        except BadRequest as error:
            _log.warning("an entry of a stream cannot be read", channel=channel, reason=error.message)
            continue
        if not isinstance(found, NewEpoch):
            yield Heard(found.publication, found.position, (found.node, found.number))
