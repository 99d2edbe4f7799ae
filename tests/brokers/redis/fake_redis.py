"""A Redis in memory that knows the scripts of history by what they promise, and connections that do one step at a time.

tests/brokers/redis/test_fake_redis.py holds it against a real one.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis

from fastws.brokers.redis.history_scripts import CLASSIC, CLEAR, PAGE, PUBLISH, READ

Reply = Any


class Numbering:
    def __init__(self, epoch: bytes, run: bytes) -> None:
        self.epoch = epoch
        self.run = run
        self.top = 0
        self.entries: list[tuple[int, bytes]] = []
        self.entries_until = 0.0
        self.found: bytes | None = None
        self.last: bytes | None = None


class FakeRedis:
    """`published(name, payload)` is called for everything that is published, in order."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.run = b"run-1"
        self.numberings: dict[bytes, Numbering] = {}
        self.scripts: set[bytes] = set()
        self.published: Callable[[bytes, bytes], int] = lambda name, payload: 0
        # (epoch, offset, rest) of every publication that was numbered, in order.
        self.log: list[tuple[bytes, int, bytes]] = []

    def restart(self, state: dict[bytes, Numbering]) -> None:
        """Come back with `state`."""
        self.run = b"run-%d" % (int(self.run.partition(b"-")[2]) + 1)
        self.numberings = state
        self.scripts.clear()

    def saved(self) -> dict[bytes, Numbering]:
        return copy.deepcopy(self.numberings)

    def execute(self, words: list[bytes]) -> Reply:
        """Run one command."""
        match words[0].upper():
            case b"SCRIPT":
                self.scripts.add(next(s.sha for s in CLASSIC if s.text == words[2]))
                return b"loaded"
            case b"INFO":
                return b"# Server\r\nrun_id:" + self.run + b"\r\n"
            case b"ROLE":
                return [b"master", 0, []]
            case b"EVALSHA":
                return self.evaluate(words[1], words[3], words[5:])
            case b"PUBLISH":
                return self.published(words[1], words[2])
            case b"EXPIRE":
                return 1
        return Exception("ERR unknown command")

    def evaluate(self, sha: bytes, key: bytes, arguments: list[bytes]) -> Reply:
        if sha not in self.scripts:
            return Exception("NOSCRIPT No matching script.")
        numbering = self.numberings.get(key)
        if numbering is not None and self.clock() >= numbering.entries_until:
            numbering.entries = []
        script = {PUBLISH.sha: self._publish, READ.sha: self._read, CLEAR.sha: self._clear, PAGE.sha: self._page}[sha]
        return script(key, numbering, arguments)

    def _begin(self, key: bytes, run: bytes, epoch: bytes) -> Numbering:
        before = self.numberings.get(key)
        numbering = self.numberings[key] = Numbering(epoch, run)
        if before is not None:
            numbering.found, numbering.last = before.found, before.last
        return numbering

    def _take_over(self, key: bytes, numbering: Numbering | None, run: bytes, fresh: bytes | None) -> Numbering:
        """Continue in `run`, with the epoch `fresh` if that is not None or there is no numbering."""
        last = b"" if numbering is None else numbering.run
        if fresh is not None or numbering is None:
            numbering = self._begin(key, run, fresh or b"")
        elif last == run:
            return numbering
        numbering.run, numbering.last, numbering.found = run, last, b"%d" % numbering.top
        return numbering

    def _vouched(
        self, numbering: Numbering | None, run: bytes, heard: tuple[bytes, int], is_forced: bool
    ) -> bool | None:
        """Whether the numbering goes on; None if somebody has to vouch for it first."""
        if numbering is None:
            return False
        if numbering.epoch == heard[0]:
            return numbering.top >= heard[1]
        if numbering.run == run:
            return True
        return False if is_forced else None

    def _publish(self, key: bytes, numbering: Numbering | None, arguments: list[bytes]) -> Reply:
        run, limit, milliseconds, name, _, forced, epoch, top, fresh, *publications = arguments
        vouched = self._vouched(numbering, run, (epoch, int(top)), forced == b"1")
        if vouched is None:
            return [0]
        numbering = self._take_over(key, numbering, run, None if vouched else fresh)
        for rest in publications:
            numbering.top += 1
            envelope = _envelope(numbering, rest)
            numbering.entries = [*numbering.entries, (numbering.top, envelope)][-int(limit) :]
            self.log.append((numbering.epoch, numbering.top, rest))
            self.published(name, envelope)
        numbering.entries_until = self.clock() + int(milliseconds) / 1000
        return [numbering.top, numbering.epoch]

    def _read(self, key: bytes, numbering: Numbering | None, arguments: list[bytes]) -> Reply:
        run, fresh, epoch, top, forced, after_text, count, name, *_ = arguments
        vouched = self._vouched(numbering, run, (epoch, int(top)), forced == b"1")
        if vouched is None:
            return [0]
        numbering = self._take_over(key, numbering, run, None if vouched else fresh)
        if not vouched:
            self.published(name, _envelope(numbering, b"g"))
        after = int(after_text)
        if after < 0:
            after = max(numbering.top + after, 0)
        elif numbering.epoch != epoch:
            after = 0
        entries = [entry for entry in numbering.entries if entry[0] > after][: int(count)]
        left = int((numbering.entries_until - self.clock()) * 1000) if numbering.entries else -2
        read = [_entry(entry) for entry in entries]
        return [numbering.top, numbering.epoch, left, read, numbering.found, numbering.last]

    def _clear(self, key: bytes, numbering: Numbering | None, arguments: list[bytes]) -> Reply:
        run, fresh, epoch, name, _ = arguments
        if epoch and numbering is not None and numbering.epoch != epoch:
            return [numbering.top, numbering.epoch]
        numbering = self._begin(key, run, fresh)
        self.published(name, _envelope(numbering, b"g"))
        return [0, fresh]

    def _page(self, key: bytes, numbering: Numbering | None, arguments: list[bytes]) -> Reply:
        if numbering is None:
            return [0, None, b"", [], b"", -2]
        reverse, start, end, count, _ = arguments
        low = 0 if start == b"-" else int(start.partition(b"-")[0])
        high = numbering.top if end == b"+" else int(end.partition(b"-")[0])
        found = [entry for entry in numbering.entries if low <= entry[0] <= high]
        if reverse == b"1":
            found.reverse()
        first = b"%d-0" % numbering.entries[0][0] if numbering.entries else b""
        left = int((numbering.entries_until - self.clock()) * 1000) if numbering.entries else -2
        return [numbering.top, numbering.epoch, first, [_entry(entry) for entry in found[: int(count)]], b"", left]


def _envelope(numbering: Numbering, rest: bytes) -> bytes:
    epoch = numbering.epoch
    return b"\xc1\x02" + numbering.top.to_bytes(8, "big") + bytes([len(epoch)]) + epoch + rest


def _entry(entry: tuple[int, bytes]) -> Reply:
    return [b"%d-0" % entry[0], [b"e", entry[1]]]


class Pipe:
    """A connection to the fake, with what is under way in both directions. `abort` calls `lose`."""

    def __init__(self, lose: Callable[[], object]) -> None:
        self.abort = lose
        self.commands: deque[list[bytes]] = deque()
        self.replies: deque[bytes] = deque()
        self._reader = hiredis.Reader()

    def write(self, data: bytes) -> None:
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self.commands.append(words)


def resp(value: Reply) -> bytes:
    """Encode a reply."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, list):
        return b"*%d\r\n%b" % (len(value), b"".join(map(resp, value)))
    return b"-%b\r\n" % str(value).encode()
