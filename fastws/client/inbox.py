"""The bounded queue of a client's incoming messages, which drops the oldest when it is full."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fastws.client.formats import Message


class Inbox:
    """Holds at most `limit` messages. Drops and counts the oldest one when another arrives.

    The reader gets `lag(dropped)` in place of the dropped messages. Because the connection is still read, a slow
    application loses messages but is not disconnected by the server as a slow consumer.
    """

    def __init__(self, limit: int, lag: Callable[[int], Message]) -> None:
        self.dropped_total = 0
        self._messages: deque[Message] = deque()
        self._limit = limit
        self._lag = lag
        self._dropped = 0
        self._ended = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        if len(self._messages) >= self._limit:
            self._messages.popleft()
            self._dropped += 1
            self.dropped_total += 1
        self._messages.append(message)
        self._changed.set()

    def end(self, error: Exception | None) -> None:
        """No more messages follow. Readers get the remaining ones, then `error` or the end of the iteration."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    async def take(self) -> Message:
        """Wait for the next message. At the end, raises the error or StopAsyncIteration in every reader."""
        await self._wait()
        return self._lag_notice() if self._dropped else self._messages.popleft()

    async def take_all(self) -> list[Message]:
        """Wait for at least one message and return all of them. Otherwise like `take`."""
        await self._wait()
        taken = [self._lag_notice()] if self._dropped else []
        taken.extend(self._messages)
        self._messages.clear()
        return taken

    async def _wait(self) -> None:
        while not self._messages:
            if self._ended:
                raise self._error or StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def _lag_notice(self) -> Message:
        dropped, self._dropped = self._dropped, 0
        return self._lag(dropped)
