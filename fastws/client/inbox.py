"""Where a client's messages wait for whoever reads them: bounded, the oldest give way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fastws.client.formats import Message


class Inbox:
    """At most `limit` messages. When one more comes the oldest is dropped and counted.

    The reader is told with `lag(dropped)` in the place where they would have stood. Dropping the oldest keeps the
    connection read, so that a slow application falls behind alone and the server does not cut it off.
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
        """Nothing more will come. Readers get what waits and then `error`, or the end of the iteration."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    async def take(self) -> Message:
        """The next message. Raises StopAsyncIteration, or the error it ended with, once and for every reader."""
        await self._wait()
        return self._lag_notice() if self._dropped else self._messages.popleft()

    async def take_all(self) -> list[Message]:
        """All that waits, one message or more; otherwise like `take`."""
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
