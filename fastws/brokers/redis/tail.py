"""The tail of a channel with a history: what this process has heard of it, and who waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import structlog

from fastws.brokers.envelope import NewEpoch, decode_numbered
from fastws.brokers.history import HistoryRule, recovery, size_of
from fastws.errors import BadRequest, FastWSError
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import MAX_EPOCH_LENGTH, Past, Position, Recovery
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.values import fast_dataclass

_log = structlog.get_logger("fastws.redis")

# Epochs of the past that a tail remembers.
MAX_ENDED: Final = 64
# The position before the first publication of an epoch that is not known.
NOWHERE: Final = Position(0, "")

Answer = Callable[[Recovery | FastWSError], None]


@fast_dataclass
class Heard:
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


class Run(NamedTuple):
    """A run of Redis, as far as one numbering is concerned: the run before it, and the last offset that it found.

    `found` and `last` are None in a numbering of an earlier version.
    """

    id: str | None
    found: bytes | None
    last: bytes | None


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
        "announced",
        "asked",
        "asked_before",
        "awaited",
        "channel",
        "ended",
        "held",
        "held_before",
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
        "run",
        "sent_by",
        "unknown",
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
        # The run of Redis in which the tail was last read.
        self.run: Run | None = None
        # Publications may be missing after `position`: newer ones are held back until Redis has been read.
        self.is_unsure = False
        self.held: list[Heard] = []
        self.held_until = float("inf")
        self._prepare_reading()
        # Epochs that have ended here, and those that clients named and Redis did not know during this one.
        self.ended: set[str] = set()
        self.unknown: set[str] = set()
        # Until when other processes may vouch for the numbering.
        self.vouch_until = 0.0
        self.asked: deque[Asked] = deque()
        # Subscribers that joined without a position while Redis was unavailable.
        self.late: list[Callable[[Position], None]] = []

    def _prepare_reading(self) -> None:
        # While Redis is read: how many were held and how many subscribers had asked when the read was sent, the epoch
        # that was announced since then, and whether the answer will be too old.
        self.is_reading = False
        self.held_before = self.asked_before = 0
        self.announced: str | None = None
        self.is_outdated = False
        # The offset, on its way to this process, at which the subscribers counted in `asked_before` are answered.
        self.awaited = 0

    def moved(self) -> Tail:
        """Return a tail with all that this one has, and leave it empty. What was asked of Redis is not waited for."""
        other = Tail(self.channel, self.rule, self.memory)
        other.position, other.sent_by, other.last_at = self.position, self.sent_by, self.last_at
        other.is_complete, other.ended, other.unknown = self.is_complete, self.ended, self.unknown
        other.kept, other.held, other.asked, other.late = self.kept, self.held, self.asked, self.late
        self.kept, self.held, self.asked, self.late = deque(), [], deque(), []
        return other

    def append(self, heard: Heard, now: float) -> None:
        """Keep the next publication of the channel."""
        if self.kept and now - self.last_at >= self.rule.seconds:
            self.clear()
        self.position, self.sent_by, self.last_at = heard.position, heard.sent_by, now
        publication, kept = heard.publication, self.kept
        kept.append(publication)
        size = size_of(publication)
        if len(kept) > self.rule.limit:
            size -= size_of(kept.popleft())
        self.memory.bytes += size

    def begin(self, position: Position) -> None:
        """Continue after `position`, without what was kept before."""
        self.clear()
        if self.position is not None and self.position.epoch != position.epoch:
            _remember(self.ended, self.position.epoch)
            self.unknown.clear()
        self.position, self.sent_by = position, None
        self.is_complete = position.offset == 0

    def fill(self, read: list[Heard]) -> None:
        """Take what Redis keeps before the first publication here, from `read`, as far back as nothing is missing."""
        if read and read[-1].position == self.position:
            self.sent_by = read[-1].sent_by
        before = (self.position or NOWHERE).offset + 1 - len(self.kept)
        for heard in reversed(read):
            if heard.position.offset == before - 1:
                self.kept.appendleft(heard.publication)
                self.memory.bytes += size_of(heard.publication)
                before -= 1
        while len(self.kept) > self.rule.limit:
            self.memory.bytes -= size_of(self.kept.popleft())
        self.is_complete = not read or before <= read[0].position.offset

    def is_lost(self, top: Position, run: Run, read: list[Heard]) -> bool:
        """Whether Redis came back without the last publication received here, or nobody can tell.

        If the first publication in `read` has its offset, the two are compared. Otherwise Redis does not keep it any
        more, and may have given its offset to another one.
        """
        position, before = self.position, self.run
        if before is None or before == run or run.last is None or run.found is None:
            return False
        if position is None or not position.offset or position.epoch != top.epoch:
            return False
        if read and read[0].position == position:
            return False
        return run.last.decode() != before.id or position.offset > int(run.found)

    def expire(self, left_ms: int, now: float) -> None:
        """Redis, which has nothing newer, keeps the publications for `left_ms` more; none if that is negative."""
        if left_ms > 0:
            self.last_at = now - self.rule.seconds + left_ms / 1000
        else:
            self.clear()
            self.is_complete = True

    def is_of(self, epoch: str) -> bool:
        """Whether the position is known and in `epoch`."""
        return self.position is not None and self.position.epoch == epoch

    def is_known(self, heard: Heard) -> bool:
        """Whether `heard` was delivered before."""
        position, found = self.position, heard.position
        return position is not None and position.epoch == found.epoch and found.offset <= position.offset

    def is_next(self, heard: Heard) -> bool:
        """Whether nothing is missing before `heard`."""
        position, found = self.position, heard.position
        return position is not None and found.offset == position.offset + 1 and found.epoch == position.epoch

    def is_too_old(self, epoch: str) -> bool:
        """Whether the answer of Redis, which names `epoch`, may be older than something that is known here."""
        if self.is_outdated or self.announced not in (None, epoch):
            return True
        return any(heard.position.epoch != epoch for heard in self.held[self.held_before :])

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
        limit = self.rule.replayed(limit)
        found = recovery(position, self.kept, past, limit, now - self.last_at)
        if found.outcome == "wrong_epoch" and isinstance(past, Position) and len(past.epoch) > MAX_EPOCH_LENGTH:
            return found  # nobody has ever begun it
        if is_fresh and found.outcome == "wrong_epoch" and isinstance(past, Position):
            _remember(self.unknown, past.epoch)
        if is_fresh or found.outcome == "recovered" or past is None:
            return found
        if isinstance(past, int):
            return found if self.is_complete or min(past, limit, self.rule.limit) <= len(self.kept) else None
        # Another process may have told this client of a publication or an epoch that has not come here yet.
        if found.outcome == "wrong_epoch":
            return found if past.epoch in self.ended or past.epoch in self.unknown else None
        return found if found.outcome in ("too_old", "too_many") and self.is_complete else None


def _remember(epochs: set[str], epoch: str) -> None:
    if len(epochs) >= MAX_ENDED:
        epochs.clear()
    epochs.add(epoch)


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
