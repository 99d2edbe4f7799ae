"""Backpressure: a client that publishes more than its subscribers' sockets take is not read until they have caught up.

Only for bulk publications, and only briefly: a fast reader is not cut off for a burst that no queue can hold, and a
client that does not read delays a publisher once, by at most MAX_SECONDS, before the channel's slow policy applies.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastws.transport.outbox import Outbox
    from fastws.transport.writer import Writer

MAX_SECONDS: Final = 0.1


class PublisherPause:
    """Pauses reading from one publisher until all outboxes that it waits for are empty, for at most MAX_SECONDS."""

    __slots__ = ("_handle", "_publisher", "_waiting")

    def __init__(self, publisher: Writer) -> None:
        self._publisher = publisher
        self._waiting = 0
        publisher.publisher_pause = self
        publisher.pause_reading()
        self._handle = asyncio.get_running_loop().call_later(MAX_SECONDS, self.release)

    def wait_for(self, outbox: Outbox) -> None:
        """Wait for `outbox`, too. `drained` is called once when it is empty."""
        self._waiting += 1
        outbox.publisher_pauses.append(self)

    def drained(self) -> None:
        """One outbox is empty, or its client is gone."""
        self._waiting -= 1
        if not self._waiting:
            self.release()

    def release(self) -> None:
        """Read from the publisher again."""
        self._handle.cancel()
        if self._publisher.publisher_pause is self:
            self._publisher.publisher_pause = None
            self._publisher.resume_reading()
