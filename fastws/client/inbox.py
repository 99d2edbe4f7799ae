"""The bounded queue of a client's incoming messages, and the positions of those that were taken from it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastws.client.formats import Message
from fastws.client.positions import Mark, Position


@dataclass(slots=True, eq=False)
class Entry:
    """A message with the position after it. Without a `message`, only the position changes. While it `is_held`, its
    message does not exist yet, and readers wait for it."""

    message: Message | None
    mark: Mark | None = None
    is_held: bool = False


class Inbox:
    """Holds at most `limit` messages. When another arrives, the oldest one without a position is dropped and counted.

    The reader gets `lag(dropped)` in place of the dropped messages. Because the connection is still read, a slow
    application loses these messages but is not disconnected by the server as a slow consumer. Messages with a position
    are never dropped: while it holds `limit` of them it `is_full`, and the connection must not be read.

    `positions` are those after the last message taken.
    """

    def __init__(
        self, limit: int, lag: Callable[[int], Message], positions: Mapping[str, Position] | None = None
    ) -> None:
        self.dropped_total = 0
        self.positions = dict(positions or {})
        self.room = asyncio.Event()  # set whenever messages were taken
        self._entries: deque[Entry] = deque()
        self._limit = limit
        self._lag = lag
        self._messages = 0
        self._kept = 0  # messages with a position
        self._dropped = 0
        self._held: Entry | None = None
        self._ended = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return self._messages

    def is_full(self, times: int = 1) -> bool:
        """Whether `times` the limit of messages with a position wait. Never while readers are held up."""
        return self._kept >= self._limit * times and self._held is None

    @property
    def is_held(self) -> bool:
        return self._held is not None

    def put(self, message: Message, mark: Mark | None = None) -> None:
        if self._messages >= self._limit:
            self._drop_oldest()
        self._append(Entry(message, mark))

    def move(self, mark: Mark) -> None:
        """Change a position once everything that came before has been taken."""
        self._append(Entry(None, mark))

    def hold(self) -> None:
        """Begin a message that is not known yet: readers get everything before it, and then wait for `release`."""
        if self._held is None and not self._ended:
            self._held = Entry(None, is_held=True)
            self._append(self._held)

    def release(self, message: Message | None) -> None:
        """Put `message` where `hold` was called; None: nothing."""
        if self._held is not None:
            self._held.is_held, self._held.message = False, message
            self._messages += message is not None
            self._held = None
            self._changed.set()

    def end(self, error: Exception | None) -> None:
        """No more messages follow. Readers get the remaining ones, then `error` or the end of the iteration."""
        self.release(None)
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    async def take(self) -> Message:
        """Wait for the next message. At the end, raises the error or StopAsyncIteration in every reader."""
        await self._wait()
        if self._dropped:
            return self._lag_notice()
        entry = self._pop()
        self.apply(entry)
        assert entry.message is not None  # noqa: S101 # _wait has removed the others
        return entry.message

    async def take_all(self) -> list[Message]:
        """Wait for at least one message and return all of them. Otherwise like `take`."""
        entries = await self.take_entries()
        for entry in entries:
            self.apply(entry)
        return [entry.message for entry in entries if entry.message is not None]

    async def take_entries(self) -> list[Entry]:
        """Like `take_all`, but `positions` change only when the entries are given to `apply`."""
        await self._wait()
        taken = [Entry(self._lag_notice())] if self._dropped else []
        while self._entries and not self._entries[0].is_held:
            taken.append(self._pop())
        return taken

    def apply(self, entry: Entry) -> None:
        """The application has taken `entry`."""
        if entry.mark is None:
            return
        channel, position = entry.mark
        if position is None:
            self.positions.pop(channel, None)
        else:
            self.positions[channel] = position

    def settle(self) -> None:
        """Apply the changes of positions that no message comes before."""
        while self._entries and self._entries[0].message is None and not self._entries[0].is_held:
            self.apply(self._pop())

    async def _wait(self) -> None:
        while True:
            self.settle()
            if self._entries and not self._entries[0].is_held:
                return
            if self._ended:
                raise self._error or StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        if entry.message is not None:
            self._messages += 1
            self._kept += entry.mark is not None
        self._changed.set()

    def _pop(self) -> Entry:
        entry = self._entries.popleft()
        if entry.message is not None:
            self._messages -= 1
            self._kept -= entry.mark is not None
            self.room.set()
        return entry

    def _drop_oldest(self) -> None:
        for index, entry in enumerate(self._entries):
            if entry.message is not None and entry.mark is None:
                del self._entries[index]
                self._messages -= 1
                self._dropped += 1
                self.dropped_total += 1
                return

    def _lag_notice(self) -> Message:
        dropped, self._dropped = self._dropped, 0
        return self._lag(dropped)
