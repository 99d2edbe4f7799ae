"""The history of a single process: numbers the publications of some channels and keeps the last ones in memory."""

from __future__ import annotations

import heapq
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from fastws.brokers.envelope import encode_body
from fastws.errors import BadRequest, FastWSError, Unrecoverable
from fastws.vocabulary.channel_table import ChannelTable
from fastws.vocabulary.positions import Page, Past, Position, Recovery
from fastws.vocabulary.publication import Encoded, Publication

# How long a numbering lives after its last publication, or, without a publication, after the last subscriber.
NUMBERING_SECONDS: Final = 86_400.0
UNUSED_SECONDS: Final = 3600.0
# Bytes of messages in one page of history.
MAX_PAGE_BYTES: Final = 1_048_576
# What a kept publication and a numbering take besides their texts (measured: tests/brokers/test_history_memory.py).
PUBLICATION_BYTES: Final = 300
NUMBERING_BYTES: Final = 1150


class HistoryRule(NamedTuple):
    """Keep the last `limit` publications until `seconds` after the newest of them."""

    limit: int
    seconds: float
    # Whether new subscribers get the last publication, whatever `recover_limit` is.
    is_cached: bool = False

    def replayed(self, recover_limit: int) -> int:
        """Return the most publications that one subscription replays."""
        return max(recover_limit, 1) if self.is_cached else recover_limit


class HistoryRules(ChannelTable[HistoryRule]):
    """The rule for each channel. The first pattern that matches decides."""

    __slots__ = ("_cache_seconds", "_is_empty")

    def __init__(
        self,
        table: Sequence[tuple[str | None, HistoryRule | None]] = (),
        cache_seconds: Callable[[str], float | None] | None = None,
    ) -> None:
        """`cache_seconds` returns how long a channel remembers its last publication whatever the table says."""
        super().__init__(table)
        self._is_empty = cache_seconds is None and not any(rule for _, rule in table)
        self._cache_seconds = cache_seconds

    def __bool__(self) -> bool:
        """Whether any channel may have a history."""
        return not self._is_empty

    def _find(self, channel: str) -> HistoryRule | None:
        rule = super()._find(channel)
        seconds = None if self._cache_seconds is None else self._cache_seconds(channel)
        if seconds is None:
            return rule
        kept = rule or HistoryRule(1, seconds)
        return HistoryRule(kept.limit, max(kept.seconds, seconds), is_cached=True)


class _Numbering:
    """The numbering of one channel and its kept publications, oldest first."""

    __slots__ = ("bytes", "due", "epoch", "kept", "last_at", "left_at", "top")

    def __init__(self, now: float) -> None:
        self.epoch = new_epoch()
        self.top = 0
        self.kept: deque[Publication] = deque()
        self.bytes = 0
        # Times of the last publication, and of the last sign of a subscriber.
        self.last_at = self.left_at = now
        # When something expires; infinity while nothing will.
        self.due = float("inf")

    @property
    def position(self) -> Position:
        return Position(self.top, self.epoch)

    def append(self, publication: Publication, limit: int) -> int:
        """Keep `publication`, and of all the last `limit`. Returns the bytes that are added."""
        kept = self.kept
        kept.append(publication)
        size = size_of(publication)
        while len(kept) > limit:
            size -= size_of(kept.popleft())
        self.bytes += size
        return size

    def drop(self, count: int) -> int:
        """Drop the oldest `count` publications. Returns their bytes."""
        freed = 0
        for _ in range(count):
            freed += size_of(self.kept.popleft())
        self.bytes -= freed
        return freed


class MemoryHistory:
    """History in the memory of this process, within `max_bytes`.

    `count` returns the number of subscribers of a channel: a numbering lives as long as there is one. `gap` is told
    when a numbering begins again. `clock` returns monotonic seconds. What has expired is dropped with the next call.
    """

    def __init__(
        self,
        rules: HistoryRules,
        *,
        max_bytes: int,
        recover_limit: int,
        count: Callable[[str], int],
        gap: Callable[[str, Position], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rule = rules
        self.bytes = 0
        self._max_bytes = max_bytes
        self._recover_limit = recover_limit
        self._count = count
        self._gap = gap
        self._clock = clock
        self._numberings: dict[str, _Numbering] = {}
        # Those that keep publications, in the order of their last one.
        self._keeping: dict[str, _Numbering] = {}
        # (time, channel) of everything that expires; an entry counts only if it is the `due` of its numbering.
        self._due: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """The number of channels with a numbering."""
        self._expire(self._clock())
        return len(self._numberings)

    def keeps(self, channel: str) -> bool:
        """Whether `channel` has a history."""
        return self.rule(channel) is not None

    def keep(self, publication: Publication, rule: HistoryRule) -> tuple[Publication, Position]:
        """Keep `publication`. Returns it with the next offset of its channel, and its position. Raises Unencodable."""
        now = self._clock()
        body = _exact(encode_body(publication.data))
        channel = publication.channel
        numbering = self._numbering(channel, now)
        offset = numbering.top + 1
        # In a feed with a history, the sequence number is the offset.
        seq = None if publication.seq is None else offset
        kept = publication.numbered(body, offset, seq, _timestamp(publication))
        numbering.top, numbering.last_at = offset, now
        self.bytes += numbering.append(kept, rule.limit)
        self._keeping.pop(channel, None)
        self._keeping[channel] = numbering
        due = now + rule.seconds
        if due < numbering.due:
            self._wake(channel, numbering, due)
        if self.bytes > self._max_bytes:
            self._make_room(numbering)
        return kept, Position(offset, numbering.epoch)

    def heard(self, channel: str) -> Position | None:
        """Return the position of the last publication of `channel`; None if it has no history."""
        return self._numbering(channel, self._clock()).position if self.keeps(channel) else None

    async def tops(self, channels: Sequence[str]) -> list[int | None]:
        """Return the last offset of each of `channels`; None for one without history."""
        positions = [self.heard(channel) for channel in channels]
        return [None if position is None else position.offset for position in positions]

    async def channels(self) -> list[str]:
        """Return the names of the channels with a numbering."""
        self._expire(self._clock())
        return list(self._numberings)

    def recover(
        self,
        channel: str,
        past: Past,
        answer: Callable[[Recovery | FastWSError], None],
        late: Callable[[Position], None],
    ) -> None:
        """Call `answer` at once with the publications of `channel` that the subscriber asks for by `past`."""
        now = self._clock()
        numbering = self._numbering(channel, now)
        rule = self.rule(channel)
        limit = self._recover_limit if rule is None else rule.replayed(self._recover_limit)
        answer(recovery(numbering.position, numbering.kept, past, limit, now - numbering.last_at))

    def page(
        self,
        channel: str,
        position: Position | None,
        limit: int,
        *,
        is_reverse: bool,
        answer: Callable[[Page | FastWSError], None],
    ) -> None:
        """Call `answer` at once with at most `limit` publications and MAX_PAGE_BYTES, but at least one if there is one.

        Forward from the oldest or after `position`; in reverse from the newest or before `position`. The answer is
        Unrecoverable if the position is gone, BadRequest if the channel has no history.
        """
        if not self.keeps(channel):
            answer(no_history(channel))
            return
        numbering = self._numbering(channel, self._clock())
        places = _places(numbering, position, is_reverse=is_reverse)
        if places is None:
            answer(unrecoverable(channel))
            return
        publications: list[Publication] = []
        size = 0
        for place in islice(places, limit):
            size += size_of(numbering.kept[place])
            if publications and size > MAX_PAGE_BYTES:
                break
            publications.append(numbering.kept[place])
        answer(Page(publications, numbering.position, self._clock() - numbering.last_at))

    def clear(self, channel: str, answer: Callable[[Position | FastWSError], None]) -> None:
        """Forget the publications of `channel` and begin a new numbering: the answer is its position.

        Subscribers get a gap notice.
        """
        if not self.keeps(channel):
            answer(no_history(channel))
            return
        now = self._clock()
        numbering = self._numbering(channel, now)
        self.bytes -= numbering.drop(len(numbering.kept))
        self._keeping.pop(channel, None)
        numbering.epoch, numbering.top, numbering.last_at = new_epoch(), 0, now
        self._gap(channel, numbering.position)
        answer(numbering.position)

    def left(self, channel: str) -> None:
        """The last subscriber of `channel` has left."""
        numbering = self._numberings.get(channel)
        if numbering is not None:
            numbering.left_at = now = self._clock()
            self._wake(channel, numbering, self._end_of_life(numbering, now))

    def _numbering(self, channel: str, now: float) -> _Numbering:
        """Return the numbering of `channel`, which begins with its first use."""
        self._expire(now)
        numbering = self._numberings.get(channel)
        if numbering is None:
            numbering = self._numberings[channel] = _Numbering(now)
            self.bytes += NUMBERING_BYTES + len(channel)
            self._wake(channel, numbering, self._end_of_life(numbering, now))
            if self.bytes > self._max_bytes:
                self._make_room(numbering)
        return numbering

    def _end_of_life(self, numbering: _Numbering, now: float) -> float:
        if numbering.top:
            return max(numbering.last_at + NUMBERING_SECONDS, now)
        return max(numbering.left_at + UNUSED_SECONDS, now)

    def _wake(self, channel: str, numbering: _Numbering, due: float) -> None:
        """Look at `channel` at `due` or earlier."""
        if due < numbering.due:
            numbering.due = due
            heapq.heappush(self._due, (due, channel))

    def _expire(self, now: float) -> None:
        """Drop what has expired: publications SECONDS after the newest, numberings that nobody uses."""
        while self._due and self._due[0][0] <= now:
            due, channel = heapq.heappop(self._due)
            numbering = self._numberings.get(channel)
            if numbering is not None and numbering.due == due:
                numbering.due = float("inf")
                self._expire_one(channel, numbering, now)

    def _expire_one(self, channel: str, numbering: _Numbering, now: float) -> None:
        rule = self.rule(channel)
        if numbering.kept and rule is not None:
            ends_at = numbering.last_at + rule.seconds
            if now < ends_at:
                self._wake(channel, numbering, ends_at)
                return
            self.bytes -= numbering.drop(len(numbering.kept))
            self._keeping.pop(channel, None)
        if self._count(channel):
            return  # `left` is called when the last subscriber leaves
        ends_at = self._end_of_life(numbering, now)
        if now < ends_at:
            self._wake(channel, numbering, ends_at)
        elif ends_at <= now:
            self._forget(channel)

    def _forget(self, channel: str) -> None:
        del self._numberings[channel]
        self.bytes -= NUMBERING_BYTES + len(channel)

    def _make_room(self, current: _Numbering) -> None:
        """Drop the publications of the channels that were silent longest; of the `current` channel only the oldest.

        Numberings go on, unless they alone take more than the limit: then the unused ones end, soonest due first.
        """
        while self.bytes > self._max_bytes and self._keeping:
            channel, numbering = next(iter(self._keeping.items()))
            if numbering is current and len(numbering.kept) > 1:
                self.bytes -= numbering.drop(1)
                continue
            self.bytes -= numbering.drop(len(numbering.kept))
            del self._keeping[channel]
        if self.bytes > self._max_bytes:
            self._end_unused(current)

    def _end_unused(self, current: _Numbering) -> None:
        rest: list[tuple[float, str]] = []
        while self._due and self.bytes > self._max_bytes:
            due, channel = heapq.heappop(self._due)
            numbering = self._numberings.get(channel)
            if numbering is None or numbering.due != due:
                continue
            if numbering is current or self._count(channel):
                rest.append((due, channel))
            else:
                self._forget(channel)
        for entry in rest:
            heapq.heappush(self._due, entry)


def recovery(top: Position, kept: deque[Publication], past: Past, limit: int, age_seconds: float = 0.0) -> Recovery:
    """Return what a subscriber gets that asks for `past`, if the publications up to `top` that are kept are `kept`.

    `age_seconds` is the time since the newest one.
    """
    if past is None:
        return Recovery(top)
    if isinstance(past, int):
        return Recovery(top, None, _last(kept, min(past, limit)), age_seconds)
    missed = top.offset - past.offset
    if past.epoch != top.epoch:
        return Recovery(top, "wrong_epoch")
    if missed < 0:
        return Recovery(top, "never_was")
    if missed > limit:
        return Recovery(top, "too_many")
    if missed > len(kept):
        return Recovery(top, "too_old")
    return Recovery(top, "recovered", _last(kept, missed))


def new_epoch() -> str:
    """Return a name for a new life of a numbering: 8 characters that no other life has."""
    return secrets.token_urlsafe(6)


def no_history(channel: str) -> BadRequest:
    """The error for reading the history of a channel that has none."""
    return BadRequest("this channel has no history: the setting `history` does not cover it", channel=channel)


def unrecoverable(channel: str) -> Unrecoverable:
    """The error for a position that cannot be continued from."""
    return Unrecoverable(
        "this position is gone: its epoch has ended or its publications are no longer kept; read without a position",
        channel=channel,
    )


def _places(numbering: _Numbering, position: Position | None, *, is_reverse: bool) -> range | None:
    """Return the places of the publications after `position`, or in reverse before it; None if it is gone."""
    count = len(numbering.kept)
    if position is None:
        start = count if is_reverse else 0
    else:
        start = position.offset - (numbering.top - count) - (1 if is_reverse else 0)
        if position.epoch != numbering.epoch or not 0 <= start <= count or position.offset > numbering.top:
            return None
    return range(start - 1, -1, -1) if is_reverse else range(start, count)


def _last(kept: deque[Publication], count: int) -> tuple[Publication, ...]:
    return tuple(islice(kept, len(kept) - min(count, len(kept)), None))


def _exact(body: Encoded) -> Encoded:
    """Return `body` in memory of its size: the encoder returns bytes in a buffer of 4 KiB, which they keep."""
    return Encoded(body.codec, b"".join((body.body, b"")))


def size_of(publication: Publication) -> int:
    """Approximate bytes that a kept publication takes."""
    body = publication.data
    return PUBLICATION_BYTES + len(publication.event) + (len(body.body) if isinstance(body, Encoded) else 0)


def _timestamp(publication: Publication) -> str | int | float:
    return time.time() if publication.timestamp is None else publication.timestamp
