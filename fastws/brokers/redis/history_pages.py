"""Pages of history in Redis, and its end: requests that need no subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from fastws.brokers.history import MAX_PAGE_BYTES, UNUSED_SECONDS, HistoryRules, no_history, size_of, unrecoverable
from fastws.brokers.redis.history_scripts import HistoryKeys
from fastws.brokers.redis.numbered_publisher import NumberedPublisher
from fastws.brokers.redis.tail import Heard, decoded_entries
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack, refusal_text
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.vocabulary.positions import Page, Position
from fastws.vocabulary.publication import Publication

SCAN_COUNT: Final = 1000
# An epoch that no numbering has: only begins one where there is none.
_NO_EPOCH: Final = "-"


class HistoryPages:
    """Reads pages, clears histories and lists channels."""

    def __init__(
        self, commander: RedisCommander, publisher: NumberedPublisher, keys: HistoryKeys, rules: HistoryRules
    ) -> None:
        self._commander = commander
        self._publisher = publisher
        self._keys = keys
        self._rules = rules

    def page(
        self,
        channel: str,
        position: Position | None,
        limit: int,
        *,
        is_reverse: bool,
        answer: Callable[[Page | FastWSError], None],
    ) -> None:
        """Call `answer` with a page, as History.page does."""
        if self._rules(channel) is None:
            answer(no_history(channel))
            return
        self._publisher.send_gathered(channel)
        start, end = "-", "+"
        if position is not None and is_reverse:
            end = f"{max(position.offset - 1, 0)}-0"
        elif position is not None:
            start = f"{position.offset + 1}-0"
        words = (int(is_reverse), start, end, limit, self._keys.redis_channel(channel))
        packed = pack(b"EVALSHA", self._keys.scripts.page.sha, 2, *self._keys.of(channel), *words)
        self._commander.send(packed, partial(self._read, channel, position, is_reverse, answer))

    def _read(
        self,
        channel: str,
        position: Position | None,
        is_reverse: bool,  # noqa: FBT001 partial binds it
        answer: Callable[[Page | FastWSError], None],
        reply: object,
    ) -> None:
        if not isinstance(reply, list):
            answer(self._error(reply))
            return
        top, epoch, first, entries, is_open, left_ms = reply
        if not epoch and position is None:
            # Nothing was published or subscribed yet: begin a numbering, so that the page has a position.
            self._clear(channel, _NO_EPOCH, lambda begun: answer(_empty(begun)))
            return
        oldest = int(first.partition(b"-")[0]) if first else top + 1
        if position is not None:
            is_kept = oldest - (0 if is_reverse else 1) <= position.offset <= top
            if is_open or not epoch or position.epoch != epoch.decode() or not is_kept:
                answer(unrecoverable(channel))
                return
        publications = list(_up_to_limit(decoded_entries(channel, entries)))
        answer(Page(publications, Position(top, epoch.decode()), self._age(channel, left_ms)))

    def _age(self, channel: str, left_ms: int) -> float:
        """Return the seconds since the newest publication, of which Redis forgets all in `left_ms`."""
        rule = self._rules(channel)
        return 0.0 if rule is None or left_ms < 0 else max(rule.seconds - left_ms / 1000, 0.0)

    def clear(self, channel: str, answer: Callable[[Position | FastWSError], None]) -> None:
        """Forget the publications of `channel` and begin a new epoch, on all processes."""
        if self._rules(channel) is None:
            answer(no_history(channel))
        else:
            self._clear(channel, "", answer)

    def _clear(self, channel: str, epoch: str, answer: Callable[[Position | FastWSError], None]) -> None:
        if self._publisher.run is None:
            answer(BrokerUnavailable("Redis is unavailable: try again"))
            return

        def cleared(reply: object) -> None:
            if isinstance(reply, list) and len(reply) == 2:
                answer(Position(reply[0], reply[1].decode()))
            else:
                answer(self._error(reply))

        words = (epoch, self._keys.redis_channel(channel), int(UNUSED_SECONDS))
        self._publisher.evaluate(self._keys.scripts.clear, channel, words, cleared)

    async def tops(self, channels: Sequence[str]) -> list[int | None]:
        """Return the last offset of each of `channels`; None for one without history. Raises BrokerUnavailable."""

        async def top(channel: str) -> int | None:
            if self._rules(channel) is None:
                return None
            found = await self._commander.call(b"HGET", self._keys.of(channel)[0], b"top")
            return int(found) if isinstance(found, bytes) else 0

        return await asyncio.gather(*(top(channel) for channel in channels))

    async def channels(self) -> list[str]:
        """Return the names of the channels with a numbering. Raises BrokerUnavailable."""
        names: set[str] = set()
        cursor: bytes = b"0"
        while True:
            reply = await self._commander.call(b"SCAN", cursor, b"MATCH", self._keys.pattern, b"COUNT", SCAN_COUNT)
            if not isinstance(reply, list):
                raise BrokerUnavailable("Redis answered SCAN with something else")
            cursor, found = reply
            names.update(self._keys.channel_of(key) for key in found)
            if cursor == b"0":
                return list(names)

    def _error(self, reply: object) -> FastWSError:
        if isinstance(reply, FastWSError):
            return reply
        self._publisher.script_refused(reply)
        return BrokerUnavailable(refusal_text(reply), cause=str(reply))


def _empty(begun: Position | FastWSError) -> Page | FastWSError:
    return begun if isinstance(begun, FastWSError) else Page([], begun)


def _up_to_limit(read: Iterator[Heard]) -> Iterator[Publication]:
    """Yield the publications up to MAX_PAGE_BYTES, but at least one."""
    size = 0
    for place, heard in enumerate(read):
        size += size_of(heard.publication)
        if place and size > MAX_PAGE_BYTES:
            return
        yield heard.publication
